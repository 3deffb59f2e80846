"""Merging edit snippets into files of installed packages: tokens of file per second. See the README here."""

from __future__ import annotations

import random
import resource
import sys
import sysconfig
import time
from pathlib import Path

from stepgraph.coding import apply, count_tokens
from stepgraph.errors import ApplyRefused

PACKAGES = ("click", "httpx", "jinja2", "rich", "pydantic", "langgraph", "openai", "yaml")
FILES, LEAST = 300, 100_000


def snippet_of(rnd: random.Random, lines: list[str]) -> str:
    """A new line between some lines of a file, with marks round them."""
    filled = [number for number in range(4, len(lines) - 4) if lines[number].strip()]
    at = rnd.choice(filled)
    pad = lines[at][: len(lines[at]) - len(lines[at].lstrip())]
    part = [*lines[at - 4 : at], f"{pad}pass", *lines[at : at + 4]]
    return "\n".join(["# ... existing code ...", *part, "# ... existing code ..."])


def main() -> int:
    rnd = random.Random(1)
    folder = Path(sysconfig.get_path("purelib"))
    files = [file for name in PACKAGES for file in sorted((folder / name).rglob("*.py"))]
    cases = []
    for file in rnd.sample(files, min(FILES, len(files))):
        text = file.read_text("utf-8")
        if text.count("\n") > 20:
            cases.append((file.name, text, snippet_of(rnd, text.split("\n"))))
    tokens = sum(count_tokens(text) for _, text, _ in cases)
    merged = 0
    start = time.process_time()
    for name, text, snippet in cases:
        try:
            apply(name, text, snippet)
            merged += 1
        except ApplyRefused:
            continue
    seconds = time.process_time() - start
    speed = tokens / seconds
    print(f"{len(cases)} files, {merged} merged, {tokens:,} tokens: {speed:,.0f} tokens/s of CPU")
    text = "".join(f"value_{n} = compute({n})\n" for n in range(50_000))
    snippet = "# ...\nvalue_25000 = compute(25000)\nadded = 1\nvalue_25001 = compute(25001)\n# ...\n"
    start = time.process_time()
    apply("long.py", text, snippet)
    print(f"a file of 50,000 lines: {time.process_time() - start:.2f} s of CPU")
    line = "data = '" + "x" * 1_000_000 + "'"
    start = time.process_time()
    apply("wide.py", f"a = 1\n{line}\nb = 2\nc = 3\n", "b = 2\nadded = 1\nc = 3\n")
    print(f"a file with a line of 1 MB: {time.process_time() - start:.2f} s of CPU")
    print(f"peak memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")
    return int(speed < LEAST)


if __name__ == "__main__":
    sys.exit(main())
