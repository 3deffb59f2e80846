"""The user's own code by reference: module:attr or file.py:attr. Importing it runs it, as any import does."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from .. import graphs
from ..state.errors import DefinitionError, InputError, StepgraphError, did_you_mean

SHIPPED = (Path(graphs.__file__).parent / "ready", Path(graphs.__file__).parents[1] / "evals" / "shipped")
STDLIB = Path(sysconfig.get_path("stdlib")).resolve()
PACKAGES = ("site-packages", "dist-packages")


def find_object(reference: str, folder: Path | None = None, *, named_by: str | None = None) -> Any:
    """Return what module:attr or file.py:attr names; files are looked for in `folder` first.

    What a file names (`named_by` says which) must lie below the working folder. Raises InputError, or
    DefinitionError for code that raises while it is imported.
    """
    place, sign, attribute = reference.rpartition(":")
    if not sign or not place or not attribute:
        raise InputError(f"{reference!r} names no code. Expected module:attr or file.py:attr.")
    beside = None if folder is None else folder / (place if place.endswith(".py") else f"{place}.py")
    if beside is not None and _is_file(beside) and (place.endswith(".py") or not _is_installed(place)):
        place = str(beside)
    if named_by is not None:
        check_inside(place, f"{named_by}: {reference}")
    value: Any = import_file(Path(place)) if place.endswith(".py") else import_named(place)
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


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False


def check_inside(place: str, subject: str, remedy: str = "") -> None:
    """Raise InputError unless the code that data names lies below the working folder, or ships with us.

    Links count as what they lead to. Nothing is imported to find that out. `subject` is what names it.
    """
    try:
        inside = place.isprintable() and all(map(is_inside, _files_of(place)))
    except (OSError, ValueError, RuntimeError):  # a name that no file can have, or a circle of links
        inside = False
    if not inside:
        raise InputError(f"{subject} lies outside this folder. {remedy}".rstrip())


def is_inside(path: Path | None) -> bool:
    """Tell whether a file lies below the working folder, links resolved; what is installed there does not."""
    if path is None:
        return False
    path = path.resolve()
    if any(path.is_relative_to(folder.resolve()) for folder in SHIPPED):
        return True
    here = Path.cwd().resolve()
    installed = {*PACKAGES} & {*path.parts[len(here.parts) :]} or path.is_relative_to(STDLIB)
    return path.is_relative_to(here) and not installed


def _files_of(place: str) -> list[Path | None]:
    """Return the files that importing a file or a module would run: the packages around it, then its own.

    None stands for what has no file. Raises InputError for a module that nobody finds.
    """
    if place.endswith(".py"):
        return [Path(place)]
    _look_here_first()
    names = place.split(".")
    if not all(name.isidentifier() for name in names):
        raise _no_module(place, place)
    paths: Any = None
    files: list[Path | None] = []
    for number in range(1, len(names) + 1):
        name = ".".join(names[:number])
        own: str | None
        if number > 1 and paths is None:  # the one before is no package
            raise _no_module(name, place)
        loaded = sys.modules.get(name)
        if loaded is not None:
            own, paths = getattr(loaded, "__file__", None), getattr(loaded, "__path__", None)
            if number < len(names):
                continue  # it has been run
        else:
            specs = (finder.find_spec(name, paths) for finder in sys.meta_path)
            spec = next((spec for spec in specs if spec is not None), None)
            if spec is None:
                raise _no_module(name, place)
            own = spec.origin if spec.has_location else None
            paths = spec.submodule_search_locations
        if own is not None or paths is None:  # a folder without __init__.py runs nothing itself
            files.append(None if own is None else Path(own))
    return files


def import_file(path: Path, *, again: bool = False) -> ModuleType:
    """Return the module of a file; one that is loaded already is taken as it is, or run `again`.

    A file that runs again must have its name to itself, for checkpoints name the types of a state by it.
    """
    try:
        path = path.resolve() if not again else path.absolute()
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(f"{str(path)!r} can be no file: {error}.") from None
    if not _is_file(path):
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
    _look_here_first()
    try:
        with explained(name):
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise _no_module(error.name, name) from None


def _look_here_first() -> None:
    if sys.path[0] != str(Path.cwd()):
        sys.path.insert(0, str(Path.cwd()))


@contextmanager
def other_checkout(folder: Path) -> Iterator[None]:
    """Import the code of another checkout in the block, whatever names its modules have.

    What was loaded from the working folder is out of sight in the block, and what the block loads is so
    after it. Raises InputError if the block loads code of the working folder, which would be of this version.
    """
    here, there = Path.cwd().resolve(), folder.resolve()

    def is_ours(module: ModuleType | None) -> bool:
        name = getattr(module, "__name__", "")
        file = getattr(module, "__file__", None)
        return bool(file) and name.partition(".")[0] != "stepgraph" and is_inside(Path(str(file)))

    modules = {name: module for name, module in list(sys.modules.items()) if is_ours(module)}
    before, paths = {*sys.modules} - {*modules}, list(sys.path)
    for name in modules:
        del sys.modules[name]
    sys.path[:] = [str(there), *(path for path in paths if path and Path(path).resolve() != here)]
    importlib.invalidate_caches()
    try:
        yield
        mixed = [
            name
            for name, module in list(sys.modules.items())
            if name not in before and is_ours(module) and not _lies_in(module, there)
        ]
        if mixed:
            raise InputError(
                f"The version in {folder} imports {', '.join(sorted(mixed))} from this folder, so it would "
                "be neither the one nor the other. Give it a copy of its own of all that it imports."
            )
    finally:
        for name, module in list(sys.modules.items()):
            if name not in before and (is_ours(module) or _lies_in(module, there)):
                del sys.modules[name]
        sys.modules.update(modules)
        sys.path[:] = paths


def _lies_in(module: ModuleType, folder: Path) -> bool:
    file = getattr(module, "__file__", None)
    return bool(file) and Path(str(file)).resolve().is_relative_to(folder)


def _no_module(missing: str | None, name: str) -> InputError:
    return InputError(
        f"There is no module {missing!r} to import for {name!r}. Run the command in the folder that "
        "holds it, or install its package."
    )


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
