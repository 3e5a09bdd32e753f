"""Tokenizers and chat templates, read from the files that models come with."""
