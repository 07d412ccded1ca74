"""The one place where psycopg's errors become ours. None tells addresses, values or passwords."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import msgspec
import psycopg

from holdfast.errors import (
    ConfigError,
    CorruptError,
    HoldfastError,
    StoreError,
    StoreReadOnlyError,
    StoreUnavailableError,
)

RETRIED: Final = ("40001", "40P01")
"""Serialization failure and deadlock: the transaction is undone, and may do well when run again."""

_UNAVAILABLE: Final = {
    "53100": ("The disk of Postgres is full.", "Free space there, then retry."),
    "53200": ("Postgres is out of memory.", "Give it more, then retry."),
    "53300": ("Postgres takes no more connections.", "Lower pool_max, or raise max_connections."),
    "55P03": ("Somebody else holds a lock for too long.", "Retry; look at pg_locks if it stays."),
    "57014": ("Postgres gave a statement up: it took too long.", "Retry, or raise the timeout."),
    "57P01": ("Postgres ended the connection.", "Retry."),
    "57P02": ("Postgres crashed and starts anew.", "Retry."),
    "57P03": ("Postgres is starting or stopping.", "Retry."),
    "25P03": ("Postgres ended a transaction that stood still.", "Retry."),
}

_REFUSED: Final = {
    "28P01": ("Postgres refuses the user or the password.", "Look at records.config.url."),
    "28000": ("Postgres refuses this user.", "Look at records.config.url and pg_hba.conf."),
    "3D000": ("Postgres has no such database.", "Create it, or mend records.config.url."),
    "3F000": ("Postgres has no such schema.", "Create it, or mend the search_path."),
    "42501": (
        "The user of records.config.url lacks a right.",
        "It needs CREATE on the schema, TEMP on the database, and to own its tables.",
    ),
}

_WORDS: Final = (
    (re.compile(r"password authentication failed|no password supplied"), "28P01"),
    (re.compile(r"pg_hba\.conf|role \".*\" (does not exist|is not permitted to log in)"), "28000"),
    (re.compile(r"database \".*\" does not exist"), "3D000"),
    (re.compile(r"permission denied for database"), "42501"),
    (re.compile(r"too many (clients|connections)|remaining connection slots"), "53300"),
)
"""How a refused connection is worded, for which libpq gives no code; anything else is "away"."""


def is_lost(error: BaseException | None) -> bool:
    """Whether the connection is gone, so that what its transaction did is undone, or was done."""
    if not isinstance(error, psycopg.OperationalError):
        return False
    code = error.sqlstate
    return code is None or code.startswith("08") or code in ("57P01", "57P02", "57P03", "25P03")


@contextmanager
def translate() -> Iterator[None]:
    """Turn errors of psycopg, and of decoding what is stored, into Holdfast's."""
    try:
        yield
    except HoldfastError:
        raise
    except psycopg.Error as error:
        raise translated(error) from error
    except msgspec.DecodeError as error:
        raise CorruptError(
            "The database holds a value that cannot be read.", hint="Restore a backup."
        ) from error


def translated(error: psycopg.Error) -> HoldfastError:
    """An error of psycopg as ours."""
    code = error.sqlstate or _code_by_words(str(error))
    if code in _UNAVAILABLE:
        message, hint = _UNAVAILABLE[code]
        return StoreUnavailableError(message, hint=hint)
    if code in _REFUSED:
        message, hint = _REFUSED[code]
        return ConfigError(message, hint=hint)
    if code == "25006":
        return StoreReadOnlyError(
            "This Postgres takes no writes: it is a standby, or set to read only.",
            hint="Name the primary in records.config.url, or add target_session_attrs=read-write.",
        )
    if code in RETRIED:
        return StoreUnavailableError("Others changed the same at the same time.", hint="Retry.")
    if isinstance(error, psycopg.OperationalError):
        return StoreUnavailableError(
            "Postgres is away: it cannot be reached, or the connection was lost.",
            hint="See that it runs and that records.config.url is right, then retry.",
        )
    if code.startswith("XX"):
        return CorruptError(f"Postgres found damage in its files ({code}).", hint="See its log.")
    return StoreError(f"Postgres refused a statement ({code or type(error).__name__}).")


def _code_by_words(text: str) -> str:
    return next((code for words, code in _WORDS if words.search(text)), "")
