"""Where a provider's key comes from: the environment, the system's keyring, or plain text in the settings."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from pydantic import SecretStr

from ..state.errors import SettingsError
from ..state.keys_in_use import remember

SERVICE = "stepgraph"
INSTALL_HELP = 'Install it with: pip install "stepgraph[keyring]" (in a clone: ".[keyring]")'


NO_KEY = "no-key"  # sent nowhere: no model is asked where it stands for a key
_asking_nobody: ContextVar[bool] = ContextVar("stepgraph_asking_nobody", default=False)


@contextmanager
def asking_nobody() -> Iterator[None]:
    """Let models be made without their keys, to read their settings and prices; they must not be asked."""
    token = _asking_nobody.set(True)
    try:
        yield
    finally:
        _asking_nobody.reset(token)


def is_asking_nobody() -> bool:
    return _asking_nobody.get()


class PlainKeyWarning(UserWarning):
    """A key stands in plain text where everybody who reads the file can take it."""


def find_key(variable: str | None, model: str, plain: SecretStr | None = None) -> str | None:
    """Return the key: from the environment, else from the keyring, else the one in the settings.

    `variable` names it in the environment and in the keyring; None means that no key is needed. Raises
    SettingsError if a key is needed and nobody has it.
    """
    if variable is None:
        return None if plain is None else fit_key(plain.get_secret_value(), f"{model}: api_key")
    key = os.environ.get(variable) or (stored_key(variable) if plain is None else plain.get_secret_value())
    if not key and _asking_nobody.get():
        return NO_KEY
    if not key:
        raise SettingsError(
            f"{model}: the environment variable {variable} is not set; it holds the key. Set it, or keep the "
            f"key in the system's keyring: stepgraph models key {variable}"
        )
    return fit_key(key, f"{model}: the key in the variable {variable}")


def fit_key(key: str, where: str) -> str:
    """Return a key without the blanks and line ends that files and secrets put around it.

    Raises SettingsError, which does not show the key, if no HTTP header could hold it.
    """
    key = key.strip().removeprefix("\ufeff").strip()
    bad = sorted({character for character in key if not "!" <= character <= "~"})
    if bad or not key:
        codes = ", ".join(f"U+{ord(character):04X}" for character in bad) or "nothing but blanks"
        raise SettingsError(
            f"{where} is malformed: a key has only visible ASCII characters, and this one has {codes}. Copy "
            "it again, without quotes and on one line."
        )
    remember(key)
    return key


def warn_of_plain_key(where: str, variable: str | None) -> None:
    """Warn that a key stands in the settings."""
    name = variable or "MY_KEY"
    warnings.warn(
        f"{where}: api_key is a key in plain text. Safer: put it into the environment variable {name} or "
        f'into the keyring (stepgraph models key {name}), and write api_key_env = "{name}".',
        PlainKeyWarning,
        stacklevel=4,
    )


def stored_key(name: str) -> str | None:
    """Return a key from the system's keyring; None if there is no such key, or no keyring."""
    try:
        import keyring
        from keyring.errors import KeyringError
    except ImportError:
        return None
    try:
        return keyring.get_password(SERVICE, name)
    except KeyringError:
        return None


def store_key(name: str, key: str | None) -> None:
    """Keep a key in the system's keyring, or delete it there if it is None. Raises SettingsError."""
    keyring: Any
    try:
        import keyring
        from keyring.errors import KeyringError
    except ImportError:
        raise SettingsError(f"There is no package to reach the keyring with. {INSTALL_HELP}") from None
    try:
        if key is None:
            keyring.delete_password(SERVICE, name)
        else:
            keyring.set_password(SERVICE, name, key)
    except KeyringError as error:
        raise SettingsError(
            f"The keyring does not do it ({type(error).__name__}: {error}). Use the environment variable "
            f"{name} instead."
        ) from None
