"""Dev mode: what a server does for those who develop against it, and what no other server may do.

Nothing in here is reached unless `serve --dev` was given on the command line: there is no setting for it.
"""
