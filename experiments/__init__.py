"""The figures, and the command line that draws them."""
