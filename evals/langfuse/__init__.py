"""A run of a suite as an experiment in Langfuse."""
