"""Metrics as pure functions on arrays: no models, no files, and every seed is an argument."""
