"""The repository's root: `stepgraph` lives in the folders beside this file, see `pyproject.toml`."""
