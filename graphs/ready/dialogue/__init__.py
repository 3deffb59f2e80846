"""The dialogue: turns on one thread, over days."""
