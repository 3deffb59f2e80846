"""What stepgraph needs, as it is installed here: every package, its licence and what it needs in turn."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from email.message import Message
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from typing import cast

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# What PyPI's classifiers and free texts are called in SPDX; the fields of a package's metadata come first.
SPDX = {
    "MIT License": "MIT", "The MIT License (MIT)": "MIT", "MIT": "MIT",
    "BSD License": "BSD-3-Clause", "BSD": "BSD-3-Clause", "3-Clause BSD License": "BSD-3-Clause",
    "BSD-3-Clause": "BSD-3-Clause", "BSD-2-Clause": "BSD-2-Clause",
    "Apache Software License": "Apache-2.0", "Apache 2.0": "Apache-2.0", "Apache-2.0": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0", "Apache License, Version 2.0": "Apache-2.0", "Apache 2": "Apache-2.0",
    "Apache Software License 2.0": "Apache-2.0",
    "ISC License (ISCL)": "ISC", "Python Software Foundation License": "PSF-2.0", "PSF-2.0": "PSF-2.0",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0", "The Unlicense (Unlicense)": "Unlicense",
    "MIT License, Apache License, Version 2.0": "MIT OR Apache-2.0",
    "GNU Lesser General Public License v2 or later (LGPLv2+)": "LGPL-2.0-or-later",
}  # fmt: skip

EXPRESSION = re.compile(r"[A-Z0-9][\w.+-]{1,40}(?: (?:AND|OR) [A-Z0-9][\w.+-]{1,40})*")


@dataclass(frozen=True)
class Package:
    """One package that is installed; `needs` are names of others."""

    name: str
    version: str
    licence: str
    needs: tuple[str, ...]


def closure(requirements: Iterable[str], extras: Iterable[str] = ()) -> list[Package]:
    """Return all packages that these need, by name. Raises LookupError for one that is not installed."""
    packages: dict[str, Package] = {}
    done: set[tuple[str, frozenset[str]]] = set()
    rest = [*_applying(requirements, frozenset(extras))]
    while rest:
        name, wanted = rest.pop()
        if (name, wanted) in done:
            continue
        done.add((name, wanted))
        try:
            installed = distribution(name)
        except PackageNotFoundError:
            raise LookupError(f"{name} is not installed here: pip install -r requirements.lock") from None
        needed = [*_applying(installed.requires or (), wanted)]
        rest += needed
        before = packages[name].needs if name in packages else ()
        needs = tuple(sorted({*before, *(other for other, _ in needed)}))
        packages[name] = Package(name, installed.version, licence_of(installed), needs)
    return [packages[name] for name in sorted(packages)]


def _applying(requirements: Iterable[str], extras: frozenset[str]) -> Iterator[tuple[str, frozenset[str]]]:
    """Yield the names that hold on this system, with their extras."""
    for text in requirements:
        requirement = Requirement(text)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in (*extras, "")):
            yield canonicalize_name(requirement.name), frozenset(requirement.extras)


def licence_of(installed: Distribution) -> str:
    """Return the licence in SPDX's words, "" where the package does not say it."""
    metadata = cast("Message", installed.metadata)
    if expression := metadata.get("License-Expression"):
        return str(expression)
    classifiers = metadata.get_all("Classifier") or []
    named = [str(line).rpartition(" :: ")[2] for line in classifiers if str(line).startswith("License ::")]
    licences = [SPDX[name] for name in named if name in SPDX]
    if licences:
        return " OR ".join(sorted(set(licences)))
    text = str(metadata.get("License") or "").strip().partition("\n")[0]
    return SPDX.get(text, text if EXPRESSION.fullmatch(text) else "")
