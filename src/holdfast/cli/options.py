"""Options that several commands share, written once.

A command takes a group of them as one parameter: `def search(common: Common, of: Of, ...)`.
`expanded` spells the groups out, so that the command line sees every option of every group.
"""

from __future__ import annotations

import copy
import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, get_origin, get_type_hints

import typer

from holdfast.cli.inputs import json_object
from holdfast.errors import ValidationError
from holdfast.model import Scope

USER = "HOLDFAST_USER"
"""Environment variable that names the user when no option does."""

_IDENTITIES = frozenset({"user_id", "agent_id", "app_id", "run_id"})


class Group:
    """Base of option groups: frozen dataclasses whose fields are annotated options."""


@dataclass(frozen=True)
class Common(Group):
    """What every command takes."""

    config: Annotated[
        Path | None,
        typer.Option("--config", metavar="FILE", help="YAML or TOML settings."),
    ] = None
    home: Annotated[
        Path | None,
        typer.Option("--home", metavar="DIR", help="Folder of the store."),
    ] = None
    json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False
    no_color: Annotated[bool, typer.Option("--no-color", help="Print without colours.")] = False
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error came from.")] = False


@dataclass(frozen=True)
class Ids(Group):
    """Whose memories: written with, or looked for."""

    user: Annotated[
        str | None,
        typer.Option("--user", "-u", envvar=USER, show_envvar=True, metavar="ID", help="User."),
    ] = None
    agent: Annotated[str | None, typer.Option("--agent", metavar="ID", help="Agent.")] = None
    app: Annotated[str | None, typer.Option("--app", metavar="ID", help="Application.")] = None
    run: Annotated[str | None, typer.Option("--run", metavar="ID", help="Run or session.")] = None

    @property
    def scope(self) -> Scope:
        """The ids as a scope."""
        return Scope(user_id=self.user, agent_id=self.agent, app_id=self.app, run_id=self.run)

    def arguments(self) -> dict[str, Any]:
        """The ids under the library's names."""
        return {
            "user_id": self.user,
            "agent_id": self.agent,
            "app_id": self.app,
            "run_id": self.run,
        }

    def named(self) -> dict[str, Any]:
        """`arguments`, of which at least one names somebody.

        Raises:
            ValidationError: none does.
        """
        if not self.scope.entities():
            raise _nobody()
        return self.arguments()


@dataclass(frozen=True)
class Of(Ids):
    """Whose memories, and a filter beside."""

    filter: Annotated[
        str | None,
        typer.Option("--filter", metavar="JSON", help='E.g. \'{"categories": {"in": ["food"]}}\'.'),
    ] = None

    def required(self) -> dict[str, Any]:
        """`filters`, which name somebody or are written out.

        Raises:
            ValidationError: there are none.
        """
        filters = self.filters()
        if not filters:
            raise _nobody()
        return filters

    def filters(self) -> dict[str, Any]:
        """The library's `filters`: the ids and the filter together.

        HOLDFAST_USER is only a default: it steps back when the filter names identities itself.

        Raises:
            ValidationError: the filter is not a JSON object, or names an id that an option names.
        """
        ids = {key: value for key, value in self.arguments().items() if value is not None}
        if self.filter is None:
            return ids
        written = json_object(self.filter, "--filter")
        if self.user == os.environ.get(USER) and _names_identity(written):
            ids.pop("user_id", None)
        twice = ids.keys() & written.keys()
        if twice:
            raise ValidationError(
                f"--filter and an option both name {', '.join(sorted(twice))}.",
                hint="Name it in one place.",
            )
        return {**ids, **written}


def _nobody() -> ValidationError:
    return ValidationError(
        "nothing says whose memories are meant.",
        hint=f"Say it with --user (or --agent, --app, --run), or set {USER}.",
    )


def _names_identity(value: Any) -> bool:
    if isinstance(value, dict):
        return not _IDENTITIES.isdisjoint(value) or any(map(_names_identity, value.values()))
    return isinstance(value, list) and any(map(_names_identity, value))


def expanded(command: Callable[..., None]) -> Callable[..., None]:
    """`command` with each parameter that is a `Group` replaced by the group's options."""
    hints = get_type_hints(command, include_extras=True)
    own: list[inspect.Parameter] = []
    shared: list[inspect.Parameter] = []
    groups: dict[str, type[Any]] = {}
    for name, parameter in inspect.signature(command).parameters.items():
        hint = hints[name]
        if inspect.isclass(hint) and issubclass(hint, Group):
            groups[name] = hint
            shared += _options(hint)
        else:
            own.append(parameter.replace(annotation=_flag(hint), kind=parameter.KEYWORD_ONLY))

    @wraps(command)
    def call(**values: Any) -> None:
        for name, group in groups.items():
            values[name] = group(**{field.name: values.pop(field.name) for field in fields(group)})
        command(**values)

    parameters = [*own, *shared]
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return call


def _options(group: type[Any]) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=_flag(hints[field.name]),
        )
        for field in fields(group)
    ]


def _flag(hint: Any) -> Any:
    """The annotation of an option; a flag's help shows no type, for it takes no value."""
    if get_origin(hint) is not Annotated or hint.__origin__ is not bool:
        return hint
    return Annotated[bool, *map(_without_type, hint.__metadata__)]


def _without_type(info: Any) -> Any:
    shown = copy.copy(info)
    shown.metavar = ""
    return shown
