"""The commands `nlhf solve` and `nlhf games`."""
