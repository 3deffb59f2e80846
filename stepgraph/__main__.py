"""Runs the command line: `python -m stepgraph` and the script `stepgraph`."""

from __future__ import annotations

from .cli.app import main

if __name__ == "__main__":
    main()
