"""Standard output and error on which no character hides: those that turn text around, C1 controls, tags,
and what nobody sees.

They are written as JSON escapes, so that a person sees them and a program reads them back.
"""

from __future__ import annotations

import re
import sys
import warnings
from typing import Any, TextIO

from ..tracing.record.text import UNSEEN

# C1; marks and overrides of direction; separators of lines; tags; halves of surrogate pairs.
_HIDDEN = re.compile(
    "[\u0080-\u009f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e0fff\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\ud800-\udfff]|" + UNSEEN.pattern
)


def visible(text: str) -> str:
    """Return the text with hidden characters as escapes."""
    return text if text.isascii() else _HIDDEN.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    data = match[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{data[n : n + 2].hex()}" for n in range(0, len(data), 2))


class VisibleStream:
    """A text stream that writes hidden characters as escapes, and else does as the one it is around."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        return self._stream.write(visible(text))

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)


def make_visible() -> None:
    """Let nothing hide in what this process prints, and tell a warning in one line."""
    sys.stdout = VisibleStream(sys.stdout)
    sys.stderr = VisibleStream(sys.stderr)
    warnings.formatwarning = _line


def _line(message: Warning | str, *_: Any, **__: Any) -> str:
    return f"Warning: {' '.join(str(message).split())}\n"
