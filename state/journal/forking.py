"""What a fork of the process does to open files: SQLite's connections may not be carried into a child.

So they are closed before a fork, and opened again, in the parent and in the child, when they are next used.
"""

from __future__ import annotations

import os
from weakref import WeakSet

WAIT_S = 1.0  # for another thread to put a connection down


class Forked:
    """Something that has to be made ready for a fork of its process."""

    def before_fork(self) -> None:
        """Put down what a child may not have."""

    def after_fork_in_parent(self) -> None:
        """Go on."""

    def after_fork(self) -> None:
        """Begin anew, in the child: all other threads are gone, and whatever lock they held."""


_tracked: WeakSet[Forked] = WeakSet()


def track(member: Forked) -> None:
    """Have something told of every fork, as long as it is in use."""
    _tracked.add(member)


def tracked() -> list[Forked]:
    return list(_tracked)


def _before() -> None:
    for member in list(_tracked):
        member.before_fork()


def _in_parent() -> None:
    for member in list(_tracked):
        member.after_fork_in_parent()


def _in_child() -> None:
    for member in list(_tracked):
        member.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
