"""Streams of threads that workers run: what the worker writes, and what a client reads."""
