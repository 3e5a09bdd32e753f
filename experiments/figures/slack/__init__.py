"""The figure slack."""
