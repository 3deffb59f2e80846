"""Search in code by a model in a context of its own: grep, outlines and windows, then line ranges."""
