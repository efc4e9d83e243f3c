"""Captioned images: reading data sets, preparing them, and streaming training examples."""
