"""Data only: the recipes that made the weights, read with importlib.resources."""
