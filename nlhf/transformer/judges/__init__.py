"""Judges: where preferences between responses come from, one file a kind; ``protocol`` says what one is."""
