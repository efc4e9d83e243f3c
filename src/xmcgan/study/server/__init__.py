"""The pages of a study and its HTTP API, on FastAPI. It uses no model and does not load torch."""
