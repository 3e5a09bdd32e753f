"""The figure regret-vs-return."""
