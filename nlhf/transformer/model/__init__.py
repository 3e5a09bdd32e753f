"""The decoder: configuration, attention, sampling, likelihood, adapters, sharding."""
