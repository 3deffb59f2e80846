"""How fast `compress` is, and how its time grows: CPU on this repository's files. See the README here.

    python -m benchmarks.code_compress [--keep 0.4]

Reads are windows of 300 lines, eight at a time, as a search has them; then one read of ever more lines.
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path

from stepgraph.coding import Read, compress, count_tokens

ROOT = Path(__file__).parents[1]
FOLDERS = ("nodes", "providers", "graphs", "state", "docs")
QUERY = "Why is a call that was paid for asked again when a run is resumed after its budget ended?"
LINES = 300
READS = 8


def windows() -> list[Read]:
    """Return the windows of the repository's files, in the order of their paths."""
    reads = []
    for folder in FOLDERS:
        for file in sorted((ROOT / folder).rglob("*")):
            if file.suffix in (".py", ".md"):
                lines = file.read_text(encoding="utf-8").split("\n")
                reads += [
                    Read(str(file.relative_to(ROOT)), place + 1, "\n".join(lines[place : place + LINES]))
                    for place in range(0, len(lines), LINES)
                ]
    return reads


def cpu(reads: list[Read], keep: float) -> float:
    """Return the seconds of CPU that one call takes."""
    begin = time.process_time()
    compress(QUERY, reads, keep=keep)
    return time.process_time() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", type=float, default=0.4)
    keep = parser.parse_args().keep
    every = windows()
    calls = [every[place : place + READS] for place in range(0, len(every), READS)]
    seconds = sorted(cpu(reads, keep) for reads in calls)
    tokens = sum(count_tokens(read.text) for read in every)
    print(
        f"{len(calls)} calls, {tokens:,} tokens: {tokens / sum(seconds):,.0f} tokens per second of CPU; "
        f"a call takes {seconds[len(seconds) // 2] * 1e3:.0f} ms, the slowest {seconds[-1] * 1e3:.0f} ms"
    )
    text = "\n".join(read.text for read in every if read.file.endswith(".py"))
    for size in (1, 2, 4):
        read = Read("all.py", 1, "\n".join([text] * size))
        took = cpu([read], keep)
        print(
            f"one read of {read.text.count(chr(10)):,} lines: {count_tokens(read.text) / took:,.0f} tokens/s"
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"at most {peak:,.0f} MiB")


if __name__ == "__main__":
    main()
