"""nlhf: theory-backed preference optimisation, each algorithm written once for tables and transformers."""
