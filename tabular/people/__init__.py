"""Votes of people: public data sets, features of texts, models of preference."""
