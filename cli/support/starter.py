"""`stepgraph new`: writes a small workflow with its tests and its eval suite, ready to run."""

from __future__ import annotations

import importlib.util
import keyword
import re
import sys
from pathlib import Path
from string import Template
from textwrap import indent

import click

from ...state.errors import InputError

STARTER = Path(__file__).parents[1] / "starter"
SUFFIX = ".txt"
NAME = re.compile(r"[A-Za-z][A-Za-z0-9]*([_-][A-Za-z0-9]+)*")
OWN_FOLDERS = ("tests", "evals")


def start(name: str) -> None:
    """Write the starter workflow to a new folder and print the commands of its README."""
    package = package_of(name)
    folder = Path(name)
    files = rendered(name, package)
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise InputError(f"{name} exists already, and nothing is overwritten. Choose another name.")
        for path, text in files.items():
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{error.filename or folder} cannot be written: {error.strerror}.") from None
    click.echo(f"Wrote {len(files)} files to {name}. Next:\n\n  cd {name}")
    commands = files[Path("README.md")].split("```sh\n")[1].split("```")[0]
    click.echo(indent(commands, "  "), nl=False)


def package_of(name: str) -> str:
    """Return the name of the project's package. Raises InputError for a name that cannot be one."""
    if not NAME.fullmatch(name):
        raise InputError(
            f"{name!r} cannot be a project's name. Expected letters, digits, and single - or _ between them, "
            "beginning with a letter: my-flow."
        )
    package = name.replace("-", "_").lower()
    if keyword.iskeyword(package):
        raise InputError(f"{name!r} cannot be a project's name: {package} is a Python keyword.")
    if package in OWN_FOLDERS or package in sys.stdlib_module_names or _is_installed(package):
        raise InputError(
            f"{name!r} cannot be a project's name: it would hide the module {package!r}. Try {name}-flow."
        )
    return package


def _is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None and not Path(package).exists()


def rendered(project: str, package: str) -> dict[Path, str]:
    """Return the starter's files, by their path in the project."""
    files = {}
    for template in sorted(STARTER.rglob(f"*{SUFFIX}")):
        path = template.relative_to(STARTER).as_posix().removesuffix(SUFFIX)
        path = re.sub("^package/", f"{package}/", path).replace("gitignore", ".gitignore")
        text = Template(template.read_text(encoding="utf-8"))
        files[Path(path)] = text.substitute(project=project, package=package)
    return files
