"""Prepare, count, look at and export data sets."""
