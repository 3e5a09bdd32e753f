"""The figure story-judges."""
