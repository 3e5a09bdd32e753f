"""Benchmarks: each times ours and a peer in the same run."""
