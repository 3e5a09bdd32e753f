"""The figure language-nash."""
