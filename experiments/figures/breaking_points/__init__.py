"""The figure breaking-points."""
