"""The commands `nlhf train`, `sample`, `evaluate` and `export`."""
