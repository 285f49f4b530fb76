"""Data only: the default and example configurations, read with importlib.resources."""
