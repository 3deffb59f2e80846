"""How a graph is run from beginning to end, and what came of it."""
