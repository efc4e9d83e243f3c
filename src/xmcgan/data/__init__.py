"""Captioned images: reading the official layouts, and the embedded Scenes (which need no torch)."""
