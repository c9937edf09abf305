"""Numbers only: integers for weights and activations, codebooks, plans, and what a plan makes of a graph."""
