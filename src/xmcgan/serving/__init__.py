"""A page and an HTTP API on trained models, in one process."""
