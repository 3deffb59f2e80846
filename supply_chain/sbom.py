"""Write what a wheel of stepgraph brings with it: a CycloneDX 1.6 document of packages, licences, hashes.

python -m supply_chain.sbom dist/stepgraph-0.1.0-py3-none-any.whl --extra ui > sbom.json

What the wheel needs is read from its own metadata; versions are those that are installed here, and the hashes
those of requirements.lock, for packages that are in it. The same wheel gives the same document.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
import uuid
import zipfile
from collections.abc import Sequence
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from .dependencies import Package, closure

LOCK = Path(__file__).parents[1] / "requirements.lock"


def locked() -> dict[tuple[str, str], list[str]]:
    """Return the hashes of each package and version of the lock."""
    hashes: dict[tuple[str, str], list[str]] = {}
    held: list[str] = []
    for line in LOCK.read_text(encoding="utf-8").splitlines():
        if named := re.match(r"([\w.-]+)(?:\[.*?\])?==(\S+)", line):
            held = hashes[canonicalize_name(named[1]), named[2]] = []
        held += re.findall(r"--hash=sha256:(\w+)", line)
    return hashes


def metadata_of(wheel: Path) -> Message:
    """Return a wheel's metadata."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return HeaderParser().parsestr(archive.read(name).decode("utf-8"))


def document(wheel: Path, extras: Sequence[str] = ()) -> dict[str, Any]:
    """Return the bill of materials of a wheel, with what it needs for these extras."""
    metadata = metadata_of(wheel)
    requirements = metadata.get_all("Requires-Dist") or []
    packages = closure(requirements, extras)
    own = f"pkg:pypi/{canonicalize_name(metadata['Name'])}@{metadata['Version']}"
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    hashes = locked()
    names = {package.name for package in packages}
    direct = {canonicalize_name(re.split(r"[^\w.-]", line)[0]) for line in requirements} & names
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, digest + json.dumps(sorted(extras)))}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "library", "bom-ref": own, "purl": own,
                "name": metadata["Name"], "version": metadata["Version"],
                "hashes": [{"alg": "SHA-256", "content": digest}],
                "licenses": [{"expression": metadata["License-Expression"]}],
            },
        },
        "components": [_component(package, hashes) for package in packages],
        "dependencies": [
            {"ref": own, "dependsOn": sorted(_ref(p) for p in packages if p.name in direct)},
            *(
                {"ref": _ref(p), "dependsOn": sorted(_ref(o) for o in packages if o.name in p.needs)}
                for p in packages
            ),
        ],
    }  # fmt: skip


def _ref(package: Package) -> str:
    return f"pkg:pypi/{package.name}@{package.version}"


def _component(package: Package, hashes: dict[tuple[str, str], list[str]]) -> dict[str, Any]:
    component: dict[str, Any] = {
        "type": "library", "bom-ref": _ref(package), "purl": _ref(package),
        "name": package.name, "version": package.version,
    }  # fmt: skip
    if package.licence:
        component["licenses"] = [{"expression": package.licence}]
    if files := hashes.get((package.name, package.version)):
        component["properties"] = [{"name": "stepgraph:lock:sha256", "value": digest} for digest in files]
    return component


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the document."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--extra", action="append", default=[])
    options = parser.parse_args(arguments)
    json.dump(document(options.wheel, options.extra), sys.stdout, indent=1)


if __name__ == "__main__":
    main()
