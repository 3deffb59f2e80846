"""Compare the weights that are installed here with the hashes of the files that stepgraph was tested with.

python -m supply_chain.weights

SmolLM2's are compared whenever they are loaded, too. wordllama's belong to one version of that package.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from importlib.metadata import version
from pathlib import Path

from stepgraph.providers.backends.ondevice import WEIGHTS_FILE, WEIGHTS_PACKAGE, WEIGHTS_SHA256

WEIGHTS = {
    (WEIGHTS_PACKAGE, "0.1.2"): (WEIGHTS_FILE, WEIGHTS_SHA256),
    ("wordllama", "0.4.0.post1"): (
        "weights/l2_supercat_256.safetensors",
        "64b47a2dc493cb8e85944076601189739852d7b64e0e1eedcb1937a251cd9fd5",
    ),
}


def main() -> int:
    """Print one line for each file; return 1 if one is missing or another than expected."""
    wrong = 0
    for (package, tested), (file, expected) in WEIGHTS.items():
        spec = importlib.util.find_spec(package)
        folders = [Path(folder) for folder in (spec.submodule_search_locations or ())] if spec else []
        path = next((folder / file for folder in folders if (folder / file).is_file()), None)
        if path is None:
            status = "not installed"
        elif hashlib.sha256(path.read_bytes()).hexdigest() == expected:
            status = "ok"
        else:
            status = f"not the file of {package} {tested}; {version(package.replace('_', '-'))} is installed"
        wrong += status != "ok"
        print(f"{package}/{file}\t{status}")
    return min(wrong, 1)


if __name__ == "__main__":
    sys.exit(main())
