"""The `holdfast` command.

Commands live in the modules beside this one. Nothing heavy is imported before a command runs, so
that `holdfast --help` and shell completion stay quick.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from io import TextIOWrapper
from typing import Annotated, Any

import typer

import holdfast
from holdfast.acts import acting, process_actor
from holdfast.cli import (
    access,
    agents,
    audit,
    backups,
    budgets,
    caching,
    embedding,
    erasure,
    evaluation,
    indexing,
    inspection,
    memories,
    quarantine,
    retention,
    sealing,
    serving,
    transfer,
    usage,
    webhooks,
)
from holdfast.cli.failure import reported
from holdfast.cli.options import Common, expanded
from holdfast.cli.parsing import Command, Commands

app = typer.Typer(
    name="holdfast",
    cls=Commands,
    help="Long-term memory for AI agents.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"holdfast {holdfast.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", metavar="", callback=_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Long-term memory for AI agents: remembers conversations, finds what matters in them."""


def _guarded(command: Callable[..., None]) -> Callable[..., None]:
    """`command` with its errors reported as one line and an exit code."""

    @wraps(command)
    def call(**values: Any) -> None:
        common: Common = values["common"]
        with acting(process_actor("cli")), reported(debug=common.debug):
            command(**values)

    return call


PANELS: dict[str, dict[str, Callable[..., None]]] = {
    "Memories": memories.COMMANDS,
    "Many at once": transfer.COMMANDS,
    "Forgetting": erasure.COMMANDS,
    "Running it": serving.COMMANDS,
    "For agents": agents.COMMANDS,
    "Looking inside": {**inspection.COMMANDS, **usage.COMMANDS, **budgets.COMMANDS},
    "Trying it": evaluation.COMMANDS,
}
for _panel, _commands in PANELS.items():
    for _name, _command in _commands.items():
        app.command(_name, cls=Command, rich_help_panel=_panel)(expanded(_guarded(_command)))

GROUPS = {
    "Who may use it": access.GROUPS,
    "Running it": {
        **indexing.GROUPS,
        **embedding.GROUPS,
        **sealing.GROUPS,
        **audit.GROUPS,
        **erasure.GROUPS,
        **retention.GROUPS,
        **quarantine.GROUPS,
        **backups.GROUPS,
        **webhooks.GROUPS,
        **caching.GROUPS,
        **budgets.GROUPS,
    },
}
for _panel, _groups in GROUPS.items():
    for _name, (_about, _commands) in _groups.items():
        _group = typer.Typer(name=_name, cls=Commands, help=_about, no_args_is_help=True)
        for _second, _command in _commands.items():
            _group.command(_second, cls=Command)(expanded(_guarded(_command)))
        app.add_typer(_group, rich_help_panel=_panel)


def main() -> None:
    """Runs the command line and exits with its code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # an old terminal shows "?" where it has no sign
    app()
