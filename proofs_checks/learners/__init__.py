"""Rows about learning from labelled comparisons."""
