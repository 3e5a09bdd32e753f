"""From files of prompts and preferences to arrays of tokens."""
