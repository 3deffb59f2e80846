"""Which models keep a score at the lowest cost."""
