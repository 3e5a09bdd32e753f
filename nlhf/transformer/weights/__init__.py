"""Weights of other projects read in, and ours written out."""
