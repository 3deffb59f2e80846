"""The record of runs, read back: the one read model, and all SQL that reads."""
