"""Preference rows as a data set of tensorflow-datasets, random access without tensorflow."""
