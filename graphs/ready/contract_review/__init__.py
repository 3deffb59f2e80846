"""Contract review: three perspectives at once, their remarks merged and their conflicts named."""
