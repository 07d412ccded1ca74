"""Errors of the configuration: which setting, where it was set, what is wrong, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from holdfast.errors import ConfigError


def fault(name: str, origin: str, what: str, hint: str = "") -> ConfigError:
    """The error for a setting: its name, where it was set, what is wrong, what to do."""
    return ConfigError(_one_line(f"{name} ({origin}): {what}."), hint=hint)


def _one_line(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)


def nearest(wanted: object, known: Iterable[str]) -> str:
    """A hint that names the known word most like the wanted one, or all of them."""
    names = sorted(set(known))
    # Bounded: comparing takes time quadratic in the length of the word.
    close = difflib.get_close_matches(str(wanted)[:64], names, n=1, cutoff=0.5)
    return f"Did you mean {close[0]!r}?" if close else f"Known are: {', '.join(names)}."


def unknown(prefix: str, key: object, origin: str, known: Iterable[str]) -> ConfigError:
    """The error for a key nobody knows; `prefix` is the dotted place it stands in."""
    return fault(f"{prefix}{str(key)[:64]}", origin, "no such setting", nearest(key, known))
