"""What a worker serves: graphs by their names, and in which versions it goes on with their threads."""

from __future__ import annotations

from collections.abc import Mapping

from ..state.session.versions import migrations_of, version_of
from .loading import Loaded


class Served:
    """The graphs of one worker. A graph in further versions stands under name@version.

    A worker that only `finishes` begins no thread: it goes on with those that were begun with its versions.
    """

    def __init__(self, graphs: Mapping[str, Loaded], *, finishes: bool = False) -> None:
        self._graphs = graphs
        self.begins = not finishes
        self.names = list(dict.fromkeys(_bare(name) for name in graphs))
        self.versions = frozenset(
            f"{_bare(name)}@{version}" for name, loaded in graphs.items() for version in _versions_of(loaded)
        )

    @property
    def keys(self) -> list[tuple[str, str]]:
        """Each graph with each version; that of new threads, and of those without one, is ""."""
        begun = [(name, version) for name, _, version in (each.partition("@") for each in self.versions)]
        return [*((name, "") for name in self.names if self.begins), *begun]

    def find(self, graph: str, version: str | None) -> Loaded | None:
        """Return what goes on with a thread of a graph that was begun with a version, None if nothing does.

        The version itself comes first, then one that has a migration from there.
        """
        own = [each for name, each in self._graphs.items() if _bare(name) == graph]
        if version is None:
            return next(iter(own), None) if self.begins else None
        fit = [each for each in own if version in _versions_of(each)]
        return min(fit, key=lambda each: version_of(each.graph) != version, default=None)


def _bare(name: str) -> str:
    return name.partition("@")[0]


def _versions_of(loaded: Loaded) -> list[str]:
    """Return the versions of threads with which a graph goes on: its own, and those of its migrations."""
    own = version_of(loaded.graph)
    return [] if own is None else [own, *(each.from_ for each in migrations_of(loaded.graph))]
