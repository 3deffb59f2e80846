"""What happened in a run, read back from its record."""
