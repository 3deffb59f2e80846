"""A folder as a model looks at it: grep, outline, read and find, each with an answer it can act on.

What was shown is not shown again, and what is long is cut: both with a notice that says how to see the rest.
A call that cannot be answered is told why, never raised: the model corrects it.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable
from difflib import get_close_matches

from ...state.errors import InputError
from ..files.kinds import FILE_KINDS
from ..files.walking import inside, read_text
from ..outlines.outline import outline
from ..tokens import count_tokens
from .code_index import CodeIndex
from .grep import grep
from .search import rank_folder

__all__ = ["CodeBrowser"]

_LINES = 120  # of one read
_TOKENS = 1_500  # of one answer
_MATCHES = 40
_ENTRIES = 80
_NAMES = 60
_WIDEST = 300  # characters of one line
_SIGNS = {
    code: repr(chr(code))[1:-1] for code in (*range(9), *range(10, 32), *range(127, 160), 0x2028, 0x2029)
}  # control characters but the tab, and what ends a line for some readers


class CodeBrowser:
    """Answers a model's calls about one folder. `shown` are the lines that it has read, by file."""

    def __init__(self, index: CodeIndex, shown: dict[str, list[int]] | None = None) -> None:
        self.index = index
        self.shown = {path: set(lines) for path, lines in (shown or {}).items()}
        if not index.files:
            index.refresh()

    def read(self, path: str, start: int = 1, end: int = 0, tokens: int = _TOKENS) -> str:
        """Return lines of a file with their numbers, at most 120, without those that were shown before."""
        text, problem = self._text(path)
        if text is None:
            return problem
        path = self._name(path)
        lines = text.split("\n")
        start = max(1, start)
        end = min(len(lines), end) if end >= start else len(lines)
        if start > len(lines):
            return f"{path} has {len(lines)} lines; there is no line {start}."
        last = min(end, start + _LINES - 1)
        known = self.shown.setdefault(path, set())
        out = [f"{path}:{start}-{last} of {len(lines)}"]
        used = count_tokens(out[0])
        skipped = 0
        for number in range(start, last + 1):
            if number in known:
                skipped += 1
                continue
            line = f"{number} {_narrow(lines[number - 1])}"
            used += count_tokens(line) + 1
            if used > min(tokens, _TOKENS):
                last = number - 1
                break
            out.append(line)
            known.add(number)
        if skipped:
            out.append(f"({skipped} of these lines were shown before.)")
        if last < end:
            out.append(f"(Cut after line {last}; read on from line {last + 1} if you need the rest.)")
        return "\n".join(out)

    def outline(self, path: str) -> str:
        """Return what a file defines, with the lines of each definition."""
        text, problem = self._text(path)
        if text is None:
            return problem
        path = self._name(path)
        definitions = outline(path, text)
        size = text.count("\n") + 1
        if not definitions:
            return f"{path} has {size} lines and no definitions; read it, or grep in it."
        head = f"{path}, {size} lines:"
        if len(definitions) > _ENTRIES:
            outer = [one for one in definitions if one.depth == 0]
            left_out = len(definitions) - min(len(outer), _ENTRIES)
            shown = [f"{one.start}-{one.end} {_narrow(one.name)}" for one in outer[:_ENTRIES]]
            return "\n".join(
                [head, *shown, f"(… and {left_out} inner ones; read a part, or grep for a name.)"]
            )
        return "\n".join([head, *(f"{one.start}-{one.end} {_narrow(one.name)}" for one in definitions)])

    def grep(self, pattern: str, under: str = "") -> str:
        """Return the lines that match a regular expression, of all files or of those below a path."""
        if not pattern.strip():
            return "The pattern is empty: give a word or a regular expression."
        paths = self._paths(under)
        if not paths:
            return f"There are no files {under!r}. {self._like(under)}"
        out: list[str] = []
        used = more = 0
        files: set[str] = set()
        try:
            for match in grep(self.index.root, paths, pattern):
                line = f"{match.file}:{match.line}: {_narrow(match.text.strip())}"
                used += count_tokens(line) + 1
                if len(out) >= _MATCHES or used > _TOKENS:
                    more += 1
                    files.add(match.file)
                    if more >= 1000:
                        break
                    continue
                out.append(line)
        except InputError as error:
            return str(error)
        if not out:
            return f"Nothing matches {pattern!r}. Try a part of the word, or another word for it."
        if more:
            out.append(
                f"({more} more in {len(files)} files; give a narrower pattern, or a path to look below.)"
            )
        return "\n".join(out)

    def find(self, name: str) -> str:
        """Return the files whose path has a text in it, or fits a glob."""
        paths = self._paths(name) if name.strip() else []
        if not paths:
            return f"No path has {name!r} in it. {self._like(name)}"
        more = (
            [f"({len(paths) - _NAMES} more; give a longer part of the path.)"] if len(paths) > _NAMES else []
        )
        return "\n".join([*paths[:_NAMES], *more])

    def overview(self, query: str, *, files: int = 8, entries: int = 22, tokens: int = 2_600) -> str:
        """Return what code finds for a question: the best files, and the best definitions in each."""
        ranked = rank_folder(query, self.index)
        best = [path for path, _ in ranked.files[:files]]
        marks: dict[str, list[tuple[int, int, str]]] = {path: [] for path in best}
        for piece, _ in ranked.pieces:
            if piece.file in marks and len(marks[piece.file]) < entries:
                marks[piece.file].append((piece.start, piece.end, piece.name or "(module)"))
        share = tokens // max(1, len(best))
        left = 0
        out = []
        for path in best:
            lines, used = [f"{path}:"], count_tokens(path)
            kept = []
            for start, end, name in marks[path]:
                cost = count_tokens(f"{start}-{end} {_narrow(name)}") + 1
                if used + cost > share + left:
                    break
                used += cost
                kept.append((start, end, name))
            left += share - used
            out.append(
                "\n".join(lines + [f"{start}-{end} {_narrow(name)}" for start, end, name in sorted(kept)])
            )
        return "\n\n".join(out)

    def _paths(self, text: str) -> list[str]:
        """Return the source files first, then the others, whose path fits."""
        ordered = [one.path for kind in FILE_KINDS for one in self.index.files_of([kind])]
        text = text.strip().removeprefix("./").rstrip("/")
        if not text or text == ".":
            return ordered
        if re.search(r"[*?\[]", text):
            return [p for p in ordered if fnmatch.fnmatchcase(p, text) or fnmatch.fnmatchcase(p, f"*/{text}")]
        exact = [path for path in ordered if path == text or path.startswith(text + "/")]
        return exact or [path for path in ordered if text.lower() in path.lower()]

    def _name(self, path: str) -> str:
        return inside(self.index.root, path).relative_to(self.index.root).as_posix()

    def _text(self, path: str) -> tuple[str | None, str]:
        """Return the text of a file, or None and what the model is told."""
        try:
            target = inside(self.index.root, path)
        except (InputError, ValueError) as error:
            return None, f"{error} {self._like(path)}".strip()
        if target.is_dir():
            return None, f"{path!r} is a folder; find shows what is below it."
        text = read_text(target)
        if text is None:
            return None, f"{path!r} is not text, or too large to be read; grep in other files."
        return text, ""

    def _like(self, path: str) -> str:
        names: Iterable[str] = (one.path for one in self.index.files)
        by_name: dict[str, str] = {}
        for name in names:
            by_name.setdefault(name.rpartition("/")[2], name)
        last = path.strip().rstrip("/").rpartition("/")[2]
        close = get_close_matches(last, list(by_name)[:20_000], 3) if last else []
        return f"Close to it: {', '.join(by_name[name] for name in close)}." if close else ""


def _narrow(line: str) -> str:
    """Return a line as a model is shown it: cut, and with no sign in it that could look like another line."""
    line = line.rstrip("\r").translate(_SIGNS)
    return line if len(line) <= _WIDEST else f"{line[:_WIDEST]}… ({len(line)} characters)"
