"""The service: sources, references, pairing, pipeline, writer, EPICS, settings."""
