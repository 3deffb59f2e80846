"""From a text such as module:attr or file.py:attr to the Python object that it names."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

from ...state.errors import InputError, did_you_mean


def find_object(reference: str, folder: Path | None = None) -> Any:
    """Return what module:attr or file.py:attr names; files are looked for in `folder` first.

    Raises InputError. It runs the code of that module, as an import does.
    """
    place, sign, attribute = reference.rpartition(":")
    if not sign or not place or not attribute:
        raise InputError(f"{reference!r} names no code. Expected module:attr or file.py:attr.")
    module = _from_file(Path(place), folder) if place.endswith(".py") else _from_module(place, folder)
    found: Any = module
    for name in attribute.split("."):
        if not hasattr(found, name):
            known = [n for n in vars(found) if not n.startswith("_")] if hasattr(found, "__dict__") else []
            close = did_you_mean(name, known)
            raise InputError(f"{place} has no {name!r}. {close if close.startswith('Did') else ''}".rstrip())
        found = getattr(found, name)
    return found


def _from_file(path: Path, folder: Path | None) -> Any:
    candidates = [path] if path.is_absolute() else [*([folder / path] if folder else []), Path.cwd() / path]
    file = next((c.resolve() for c in candidates if c.is_file()), None)
    if file is None:
        raise InputError(f"There is no file {path}.")
    known = sys.modules.get(file.stem)
    if known is not None and getattr(known, "__file__", None) == str(file):
        return known
    name = f"stepgraph_file_{file.stem}" if known is not None else file.stem
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise InputError(f"{file} cannot be imported.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise InputError(f"{file} raised {type(error).__name__} while it was loaded: {error}.") from None
    return module


def _from_module(name: str, folder: Path | None) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name == name.split(".")[0] and folder and (folder / f"{name}.py").is_file():
            return _from_file(Path(f"{name}.py"), folder)
        raise InputError(f"There is no module {error.name!r} to import for {name!r}.") from None
    except Exception as error:
        raise InputError(f"{name} raised {type(error).__name__} while it was loaded: {error}.") from None
