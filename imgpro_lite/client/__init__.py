"""A client of the API, for the commands that talk to a server of it."""
