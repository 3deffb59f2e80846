"""The journal: what is kept of every model call, visit and decision of a run, and the file under it."""
