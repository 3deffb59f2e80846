"""From a piece of code and its tests to a verdict: what is run in the sandbox, and how its word is read."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from ....nodes.sandboxes import Limits, run_python
from ....state.serde import allow

MAX_REPORT = 1500
_FENCE = re.compile(r"```(?:python|py)?[ \t]*\n(.*?)(?:```|\Z)", re.DOTALL | re.IGNORECASE)

# Runs each test by itself. The mark keeps what the code prints apart from the verdict. Tests and code share
# a process, so code that sets out to forge the verdict can: the tests judge code that may be wrong, not code
# that cheats (docs/safety.md says how to judge that).
RUNNER = """
import contextlib, io, json, traceback
mark, tests = json.load(open("tests.json"))
results = []
scope = {"__name__": "solution"}
try:
    exec(compile(open("solution.py").read(), "solution.py", "exec"), scope)
except BaseException:
    results = [traceback.format_exc(limit=-2)] * len(tests)
else:
    for test in tests:
        try:
            exec(compile(test, "test", "exec"), dict(scope))
        except BaseException:
            results.append(f"{test.strip()}\\n{traceback.format_exc(limit=-2)}")
        else:
            results.append("")
print()
print(mark + json.dumps(results))
"""


@dataclass(frozen=True)
class Report:
    """How the tests went: how many passed, of how many, and what the others said.

    They run in the code's own process: a pass tells right code from wrong code, not from code that cheats.
    """

    passed: int
    total: int
    failures: str = ""

    @property
    def ok(self) -> bool:
        return self.passed == self.total


allow(Report)


def code_in(text: str) -> str:
    """Return the code of a model's answer: the fenced blocks, or all of it where there is no fence."""
    blocks = _FENCE.findall(text)
    return "\n\n".join(block.strip("\n") for block in blocks) if blocks else text.strip()


async def run_tests(
    code: str, tests: Sequence[str], limits: Limits | None = None, *, isolated: bool = True
) -> Report:
    """Run every test on the code, each in the module's scope, in the sandbox.

    A test is a piece of code that raises unless it passes, such as `assert add(1, 2) == 3`.
    """
    mark = secrets.token_hex(16)
    files = {"main.py": RUNNER, "solution.py": code, "tests.json": json.dumps([mark, list(tests)])}
    ran = await run_python(files, "main.py", limits, isolated=isolated)
    _, separator, verdict = ran.output.rpartition(mark)
    try:
        results = json.loads(verdict) if separator else None
    except ValueError:
        results = None
    if not isinstance(results, list) or len(results) != len(tests):
        why = ran.why or f"it ended with exit code {ran.code} before the tests did"
        return Report(0, len(tests), f"The code was stopped: {why}.\n{ran.output[-MAX_REPORT:]}".strip())
    failures = [text for text in results if text]
    report = "\n".join(dict.fromkeys(failures))
    return Report(len(tests) - len(failures), len(tests), report[:MAX_REPORT])
