"""The pages of a study and its HTTP API, on FastAPI. It knows no model and loads no torch."""
