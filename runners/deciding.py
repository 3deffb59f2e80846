"""A person's decision on a review: what goes on record with it, wherever it is given."""

from __future__ import annotations

import getpass
import hashlib
import os
from typing import Any, Final

from ..tracing.record.pending import Waiting
from ..tracing.record.text import show_value

UNCHANGED: Final = object()


def review_answer(
    item: Waiting, decision: str, *, reason: str = "", by: str | None = None, value: Any = UNCHANGED
) -> dict[str, Any]:
    """Return the answer that a review takes: who decides, who that is to the system, and what they saw."""
    user = system_user()
    answer: dict[str, Any] = {"decision": decision, "by": user if by is None else by}
    answer |= {"user": user, "seen": seen(item)}
    if reason:
        answer["reason"] = reason
    if value is not UNCHANGED:
        answer["value"] = value
    return answer


def seen(item: Waiting) -> str:
    """Return what tells the value that is decided on from any other; the value itself is on record, too."""
    text = show_value(item.value.get("value"), None)
    return f"saw {len(text):,} characters, sha256 {hashlib.sha256(text.encode()).hexdigest()[:16]}"


def system_user() -> str:
    """Return the user as the system knows them, whatever the environment says."""
    try:
        import pwd

        return pwd.getpwuid(os.getuid()).pw_name
    except (ImportError, KeyError):
        pass
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return ""
