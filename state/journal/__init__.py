"""The journal: what is kept of every model call, node run and decision of a run, and the file under it."""
