"""The names that lines define, in the forms of many languages: which a reading adds twice, or drops."""

from __future__ import annotations

import re

DEFINES = re.compile(
    r"""^(?:(?:export|default|public|private|protected|internal|static|abstract|final|override|async|pub(?:\([\w:]+\))?|unsafe
        |declare|virtual|inline|const(?=\s+(?:fn|enum|\w+\s*[:=]))|readonly|extern|sealed|partial)\s+)*
        (?:(?:def|class|function\*?|fn|func|interface|type|enum|struct|trait|impl|module|namespace|const|let|var|macro_rules!|record)\s+
        (?:\([^)]*\)\s*)?(?P<name>[A-Za-z_$][\w$.]*)
        |(?P<method>[A-Za-z_$#][\w$]*)\s*\([^;]*\)\s*(?::[^;{}]*)?\{$
        |(?:case|when)\s+(?P<case>.+?)\s*(?::|=>|then).*$
        |"(?P<key>[^"]+)"\s*:
        |(?P<entry>[a-z_][\w.-]*)\s*:(?=\s*$)
        |(?P<section>\[\[?[^\]]+\]\]?$))""",
    re.VERBOSE,
)
LONGEST = 400  # characters of a line that can define something
STATEMENTS = frozenset(
    "if for while try switch catch return with else elif try except finally default match function".split()
)


def defined(line: str) -> str:
    """The name that a stripped line defines, or nothing. Those of keys and sections begin with a colon."""
    match = DEFINES.match(line) if len(line) <= LONGEST else None
    if match is None:
        return ""
    kind, name = next((kind, value) for kind, value in match.groupdict().items() if value)
    if name in STATEMENTS:
        return ""
    return ":" + name if kind in ("key", "entry", "section") else name


def accessor(lines: list[str], at: int) -> bool:
    """Tell whether a definition is meant to share its name: a property's setter, an overload."""
    above = lines[at - 1] if at else ""
    return above.startswith("@") and (
        above.endswith((".setter", ".getter", ".deleter", "overload")) or ".register" in above
    )
