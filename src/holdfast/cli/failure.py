"""From an error to one line on standard error and an exit code that stays the same.

The codes are documented in docs/cli.md.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer

from holdfast.cli.output import printable
from holdfast.errors import (
    ConfigError,
    HoldfastError,
    ModelError,
    NotFoundError,
    StoreError,
    ValidationError,
)

EXIT_FAILED = 1
EXIT_INPUT = 2
EXIT_NOT_FOUND = 3
EXIT_STORE = 4
EXIT_MODEL = 5
EXIT_INTERRUPTED = 128 + signal.SIGINT
EXIT_PIPE = 128 + signal.SIGPIPE

_CODES: tuple[tuple[type[HoldfastError], int], ...] = (
    (ValidationError, EXIT_INPUT),
    (ConfigError, EXIT_INPUT),
    (NotFoundError, EXIT_NOT_FOUND),
    (StoreError, EXIT_STORE),
    (ModelError, EXIT_MODEL),
)

_UsageError: Any = typer.BadParameter.__base__
"""Whatever is wrong with the words of a command; typer exports only this kind of it."""


def exit_code(error: HoldfastError) -> int:
    """The exit code of an error."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), EXIT_FAILED)


@contextmanager
def reported(*, debug: bool) -> Iterator[None]:
    """Ends the process as documented when the block fails; `debug` lets errors through.

    Other exceptions are faults of the program and keep their traceback.
    """
    try:
        yield
        sys.stdout.flush()
    except KeyboardInterrupt:
        _say("interrupted")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    except BrokenPipeError:
        _close_stdout()
        raise typer.Exit(EXIT_PIPE) from None
    except HoldfastError as error:
        if debug:
            raise
        _say_error(error.message, error.code, error.hint)
        raise typer.Exit(exit_code(error)) from None
    except OSError as error:
        if debug:
            raise
        place = f"{error.filename}: " if error.filename else ""
        _say(f"error: {place}{error.strerror or error} (FILE)")
        raise typer.Exit(EXIT_FAILED) from None


@contextmanager
def usage_reported(path: str) -> Iterator[None]:
    """Ends the process as documented when the words of a command are wrong.

    `path` is how the command was called, e.g. "holdfast search".
    """
    try:
        yield
    except _UsageError as error:
        message = error.format_message().strip()
        end = "" if message.endswith((".", "?")) else "."
        _say_error(f"{message}{end}", "USAGE", f"`{path} --help` tells what it takes.")
        raise typer.Exit(EXIT_INPUT) from None


def _say_error(message: str, code: str, hint: str) -> None:
    _say(f"error: {message} ({code})" + (f" {hint}" if hint else ""))


def _say(line: str) -> None:
    typer.echo(printable(" ".join(line.split())), err=True)


def _close_stdout() -> None:
    """Keeps the interpreter from writing, and complaining, at exit."""
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
