"""For test suites: a server in dev mode as a process of its own, and its control plane as methods.

Nothing in here imports the server, so a suite that does not use it pays nothing for it.
"""
