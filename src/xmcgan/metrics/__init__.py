"""The metrics, as pure functions on arrays: no model, no file, no seed that is not an argument."""
