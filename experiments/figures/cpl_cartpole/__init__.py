"""The figure cpl-cartpole."""
