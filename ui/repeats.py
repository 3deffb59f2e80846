"""A form that is sent twice is done once: by a second press, or by a browser that asks again."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from threading import Lock
from typing import Final, Generic, TypeVar

MOST: Final = 1000
T = TypeVar("T")


class Repeats(Generic[T]):
    """Remembers what became of the last forms. Each form that a page shows has a mark of its own, `once`."""

    def __init__(self) -> None:
        self._done: OrderedDict[str, Future[T]] = OrderedDict()
        self._lock = Lock()

    @staticmethod
    def mark() -> str:
        """Return the mark of a form."""
        return secrets.token_urlsafe(12)

    def once(self, pairs: Sequence[tuple[str, str]], act: Callable[[], T]) -> T:
        """Do what a form says; if the very same form was sent before, return what that led to.

        What failed is done again.
        """
        if not any(name == "once" and value for name, value in pairs):
            return act()
        data = json.dumps([list(pair) for pair in pairs]).encode()
        key = hashlib.sha256(data).hexdigest()  # a form can be long
        with self._lock:
            before = self._done.get(key)
            if before is None:
                mine: Future[T] = Future()
                self._done[key] = mine
                while len(self._done) > MOST:
                    self._done.popitem(last=False)
        if before is not None:
            return before.result()
        try:
            result = act()
        except BaseException as error:
            with self._lock:
                self._done.pop(key, None)
            mine.set_exception(error)
            raise
        mine.set_result(result)
        return result
