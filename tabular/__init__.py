"""The microscope: games small enough to be solved exactly, and the instruments to look at them."""
