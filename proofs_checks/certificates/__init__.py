"""Claims and lemmas in ball arithmetic: what holds on an instance holds there in real numbers."""
