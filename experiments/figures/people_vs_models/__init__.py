"""The figure people-vs-models."""
