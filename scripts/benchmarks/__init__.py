"""Benchmarks: each prints its figures beside those of something bare that does the same work in the same run."""
