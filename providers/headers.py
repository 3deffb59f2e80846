"""A model's own HTTP headers: written in the settings, or taken from the environment by name."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Final

from ..state.errors import SettingsError
from ..state.keys_in_use import remember
from .keys import fit_key

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # a token of RFC 9110
_VALUE = re.compile(r"[\t -~]*")
_OURS: Final = {"content-type", "content-length", "host", "transfer-encoding", "connection"}


def check_headers(headers: Mapping[str, str]) -> None:
    """Raise ValueError for a header that HTTP or this client cannot take."""
    for name, value in headers.items():
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a header")
        if name.lower() in _OURS:
            raise ValueError(f"{name} is set by the client")
        if not _VALUE.fullmatch(value):
            raise ValueError(f"the value of {name} holds what no header can; write ASCII, on one line")


def sent_headers(headers: Mapping[str, str], model: str) -> tuple[dict[str, str], list[str]]:
    """Return the headers as they are sent, and which of their values are secret: those of the environment.

    A value "$NAME" stands for the environment variable NAME. Raises SettingsError if it is not set.
    """
    sent, secret = {}, []
    for name, value in headers.items():
        if value.startswith("$"):
            held = os.environ.get(value[1:])
            if not held:
                raise SettingsError(
                    f"{model}: the environment variable {value[1:]} is not set; the header {name} needs it."
                )
            value = held.strip() if _VALUE.fullmatch(held.strip()) else fit_key(held, f"{model}: {value[1:]}")
            secret.append(value)
            remember(value)
            remember(value.rpartition(" ")[2])  # without the scheme, as in "Bearer …"
        sent[name] = value
    return sent, secret
