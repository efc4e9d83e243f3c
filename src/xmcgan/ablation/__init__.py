"""Ablations: a list of configurations, trained with several seeds at equal cost, and the report that compares them."""
