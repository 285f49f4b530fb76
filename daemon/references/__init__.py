"""The store of references, and which of them serves a sample."""
