"""The networks that judge images: feature extractors, dual encoders of image and text, detectors."""
