"""Engines bring threads to workers: a queue in the record itself, or a server that runs workflows."""
