"""Models and tapes for tests, and the examination of endpoints."""
