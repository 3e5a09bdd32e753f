"""The figure exploration-phase-diagram."""
