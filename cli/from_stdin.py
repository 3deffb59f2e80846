"""The command line with the arguments that standard input holds, for a page that begins a command.

So no other user of this machine sees in the list of processes what a person typed.
"""

from __future__ import annotations

import json
import sys

from .app import main


def run() -> None:
    """Read a list of texts, as JSON, and run the command line with them.

    They are handed on as they are: of those of a process click expands names of files and of environment
    variables on Windows, as a shell does elsewhere.
    """
    arguments = json.load(sys.stdin)
    sys.argv = ["stepgraph", *arguments]
    main(arguments)
