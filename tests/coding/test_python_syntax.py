"""Python is parsed by many threads at once, whatever CPython's own parser makes of that."""

from __future__ import annotations

import ast
import gc
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from stepgraph.coding.outlines import python
from stepgraph.coding.python_syntax import parse_python

TEXT = Path(python.__file__).read_text(encoding="utf-8")


class Finalized:
    """Has Python code run while the parser makes its objects, so that threads may change there."""

    def __init__(self) -> None:
        self.itself = self

    def __del__(self) -> None:
        for _ in range(20):
            pass


@pytest.fixture
def restless() -> Iterator[None]:
    """Threads change, and garbage is collected, as often as can be."""
    interval, thresholds = sys.getswitchinterval(), gc.get_threshold()
    sys.setswitchinterval(1e-6)
    gc.set_threshold(50, 2, 2)
    yield
    sys.setswitchinterval(interval)
    gc.set_threshold(*thresholds)


@pytest.mark.usefixtures("restless")
def test_many_threads_parse_at_once() -> None:
    problems: list[BaseException] = []
    right = ast.dump(parse_python(TEXT))

    def parse() -> None:
        for _ in range(60):
            Finalized()
            try:
                assert ast.dump(parse_python(TEXT)) == right
            except BaseException as problem:
                problems.append(problem)

    threads = [threading.Thread(target=parse) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []


def test_a_parser_that_another_thread_disturbed_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    real, raised = ast.parse, [SystemError("AST constructor recursion depth mismatch")] * 3

    def disturbed(text: str) -> ast.Module:
        if raised:
            raise raised.pop()
        return real(text)

    with monkeypatch.context() as patch:
        patch.setattr(ast, "parse", disturbed)
        tree = parse_python("x = 1\n")
    assert isinstance(tree.body[0], ast.Assign)
    assert raised == []


def test_what_a_text_would_warn_of_is_no_error() -> None:
    assert parse_python('x = "\\d"\n').body


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("def", SyntaxError),
        ("\0", (SyntaxError, ValueError)),
        ("+" * 200_000 + "1", (RecursionError, MemoryError)),
    ],
    ids=["no-python", "a-null", "too-deep"],
)
def test_what_is_no_python_raises(text: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        parse_python(text)
