"""Runs a suite, trial by trial."""
