"""The user's own code by reference: module:attr or file.py:attr. Importing it runs it, as any import does."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from ..state.errors import DefinitionError, InputError, StepgraphError, did_you_mean


def find_object(reference: str, folder: Path | None = None) -> Any:
    """Return what module:attr or file.py:attr names; files are looked for in `folder` first.

    Raises InputError, or DefinitionError for code that raises while it is imported.
    """
    place, sign, attribute = reference.rpartition(":")
    if not sign or not place or not attribute:
        raise InputError(f"{reference!r} names no code. Expected module:attr or file.py:attr.")
    beside = None if folder is None else folder / (place if place.endswith(".py") else f"{place}.py")
    if beside is not None and beside.is_file() and (place.endswith(".py") or not _is_installed(place)):
        value: Any = import_file(beside)
    else:
        value = import_file(Path(place)) if place.endswith(".py") else import_named(place)
    for name in attribute.split("."):
        if not hasattr(value, name):
            known = [n for n in vars(value) if not n.startswith("_")] if hasattr(value, "__dict__") else []
            close = did_you_mean(name, known)
            raise InputError(f"{place} has no {name!r}. {close if close.startswith('Did') else ''}".rstrip())
        value = getattr(value, name)
    return value


def _is_installed(name: str) -> bool:
    top = name.partition(".")[0]
    return top in sys.modules or importlib.util.find_spec(top) is not None


def import_file(path: Path, *, again: bool = False) -> ModuleType:
    """Return the module of a file; one that is loaded already is taken as it is, or run `again`.

    A file that runs again must have its name to itself, for checkpoints name the types of a state by it.
    """
    path = path.resolve() if not again else path.absolute()
    if not path.is_file():
        raise InputError(f"There is no file {path}.")
    if path.stem == "__main__":
        package = path.parent.name
        raise InputError(f"{path} is a part of a package. Name it as that: {package}.__main__:attr.")
    loaded = sys.modules.get(path.stem)
    same = loaded is not None and getattr(loaded, "__file__", None) == str(path)
    if loaded is not None and same and not again:
        return loaded
    if loaded is not None and not same and again:
        raise InputError(
            f"{path} has the name of another module, {path.stem!r}, that is loaded already. Rename the file, "
            "or resume its threads on their own."
        )
    if again:
        sys.path.insert(0, str(path.parent))
    name = path.stem if loaded is None or same else f"stepgraph_file_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path} cannot be imported.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with explained(str(path)):
            spec.loader.exec_module(module)
    except ModuleNotFoundError as error:
        del sys.modules[name]
        raise DefinitionError(f"{path} imports {error.name!r}, which is not installed here.") from None
    except StepgraphError:
        del sys.modules[name]
        raise
    return module


def import_named(name: str) -> ModuleType:
    """Return a module by its name, from the current folder too."""
    if sys.path[0] != str(Path.cwd()):
        sys.path.insert(0, str(Path.cwd()))
    try:
        with explained(name):
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise InputError(
            f"There is no module {error.name!r} to import for {name!r}. Run the command in the folder that "
            "holds it, or install its package."
        ) from None


@contextmanager
def explained(name: str) -> Iterator[None]:
    """Turn whatever the user's own code raises into an error that names the place."""
    try:
        yield
    except (StepgraphError, ModuleNotFoundError):
        raise
    except (Exception, SystemExit) as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        raise DefinitionError(
            f"{name} raised {type(error).__name__} while it was loaded "
            f"({frame.filename}, line {frame.lineno}): {error}"
        ) from None
