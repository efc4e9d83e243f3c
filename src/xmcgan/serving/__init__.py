"""A page and an HTTP API for trained models, in one process."""
