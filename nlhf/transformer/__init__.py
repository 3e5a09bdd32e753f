"""The same algorithms on transformers: models, samplers, judges and training over a device mesh."""
