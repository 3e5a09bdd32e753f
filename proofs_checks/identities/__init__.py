"""Equalities, exact to rounding: steps by their argmin, gradients by autodiff, worked examples."""
