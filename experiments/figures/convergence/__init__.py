"""The figure convergence."""
