"""The figure vpo-bandit."""
