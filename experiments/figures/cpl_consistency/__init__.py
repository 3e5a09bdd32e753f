"""The figure cpl-consistency."""
