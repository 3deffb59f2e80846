"""The command `stepgraph`."""
