"""The figure vpo-offline."""
