"""Evaluation networks: feature extractors, dual encoders of images and captions, and detectors."""
