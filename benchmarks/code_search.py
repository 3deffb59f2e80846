"""How long a search takes in a tree of a million lines, cold and warm, and what it holds in memory.

    python -m benchmarks.code_search [--lines 1000000]

The tree is made of the Python files of the installed packages, as often as the number of lines needs, each
copy in a folder of its own. Cold: nothing was read before, no index is there. Kept: another process, with
the index of the first. Warm: the same process, in which each question was asked once. CPU seconds and the
clock are told.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from stepgraph.coding import CodeIndex, search

QUERIES = (
    "a request that failed is tried again without waiting for the time that the server asked for",
    "the encoding of a response that names none is guessed wrongly",
    "a cancelled task leaves its connection in the pool",
)


def main() -> None:
    """Make the tree, and run each phase in a process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--phase", nargs=2, metavar=("TREE", "STORE"))
    options = parser.parse_args()
    if options.phase:
        print(json.dumps(phase(*options.phase)))
        return
    with tempfile.TemporaryDirectory() as place:
        tree, store = Path(place, "tree"), Path(place, "store")
        files, lines = make_tree(tree, options.lines)
        print(f"{files} files, {lines} lines")
        command = [sys.executable, "-m", "benchmarks.code_search", "--phase", str(tree), str(store)]
        for name in ("cold", "kept"):
            result = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
            first, *others = result["cpu"]
            clock, *rest = result["clock"]
            print(f"{name:5}: {first:5.2f} s CPU, {clock:5.2f} s; peak memory {result['peak_mb']:.0f} MB")
            print(f"warm : {max(others):5.2f} s CPU, {max(rest):5.2f} s, the slowest of {len(others)}")
        size = sum(file.stat().st_size for file in store.iterdir())
        print(f"index: {size / 1e6:.1f} MB on disk")


def phase(tree: str, store: str) -> dict[str, object]:
    """Search in this process: the first search reads, the others are warm."""
    cpu, clock = [], []
    index = CodeIndex(tree, store)
    for query in (QUERIES[0], *QUERIES, *QUERIES):
        start, process = time.perf_counter(), time.process_time()
        assert search(query, tree, index=index).ranges
        cpu.append(time.process_time() - process)
        clock.append(time.perf_counter() - start)
    warm = slice(1 + len(QUERIES), None)  # each question's own pieces were read once before
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"cpu": [cpu[0], *cpu[warm]], "clock": [clock[0], *clock[warm]], "peak_mb": peak}


def make_tree(tree: Path, wanted: int) -> tuple[int, int]:
    """Write the tree; return how many files and lines it has."""
    files = lines = 0
    for copy in range(100):
        for name, text in sources():
            file = tree / f"part{copy}" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, "utf-8")
            files, lines = files + 1, lines + text.count("\n")
            if lines >= wanted:
                return files, lines
    return files, lines


def sources() -> Iterator[tuple[str, str]]:
    """Yield the Python files of the installed packages."""
    root = Path(sysconfig.get_paths()["purelib"])
    for file in sorted(root.rglob("*.py")):
        name = file.relative_to(root).as_posix()
        if "test" not in name and file.stat().st_size < 500_000:
            yield name, file.read_text("utf-8", "replace")


if __name__ == "__main__":
    main()
