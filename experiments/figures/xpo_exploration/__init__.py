"""The figure xpo-exploration."""
