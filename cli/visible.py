"""Standard output and error on which no character hides: those that turn text around, C1 controls, tags,
and what nobody sees. Nor what the console has no place for: Windows' cp1252, a log in ASCII.

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

# What this program draws with, for consoles that have letters only.
_PLAIN = {
    **dict.fromkeys("●◆■▪•", "*"),
    **dict.fromkeys("○◇□▫◦", "o"),
    **dict.fromkeys("─━═", "-"),
    **dict.fromkeys("│┃║", "|"),
    **dict.fromkeys("┌┐└┘├┤┬┴┼╭╮╰╯╔╗╚╝╠╣╦╩╬┏┓┗┛", "+"),
    **dict.fromkeys("█▓▒░▇▆▅▄▃▂▁▌▐▏", "#"),
    **dict.fromkeys("‘’", "'"),
    **dict.fromkeys("“”", '"'),
    "→": "->",
    "←": "<-",
    "↑": "^",
    "↓": "v",
    "▶": ">",
    "…": "...",
    "–": "-",
    "—": "-",
    "×": "x",
    "·": ".",
    "≤": "<=",
    "≥": ">=",
    "≈": "~",
    "✓": "+",
    "✗": "x",
    "−": "-",
    "↳": ">",
}


def visible(text: str) -> str:
    """Return the text with hidden characters as escapes."""
    return text if text.isascii() else _HIDDEN.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    return _escapes(match[0])


def _escapes(text: str) -> str:
    data = text.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{data[n : n + 2].hex()}" for n in range(0, len(data), 2))


def writable(text: str, encoding: str) -> str:
    """Return the text with what an encoding has no place for as plain letters or as JSON escapes.

    A line of JSON gets escapes only, so that a program reads what was said.
    """
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        pass
    else:
        return text
    plain = {} if text.lstrip().startswith(("{", "[")) else _PLAIN
    return "".join(char if _fits(char, encoding) else plain.get(char) or _escapes(char) for char in text)


def _fits(char: str, encoding: str) -> bool:
    try:
        char.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


class VisibleStream:
    """A text stream that writes what would hide, or what it has no place for, as escapes.

    It says that it takes all characters: who writes to it need not ask what the console can show.
    """

    encoding = "utf-8"

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._real = getattr(stream, "encoding", None) or "utf-8"

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        return self._stream.write(writable(visible(text), self._real))

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
