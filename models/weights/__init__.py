"""Weights that come with the package: name.safetensors and name.json, its card."""
