"""Suites and results as files."""
