"""Hostile requests over all routes, against a real server process: `scripts/fuzz [REQUESTS] [--seed N]`."""
