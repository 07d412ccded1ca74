"""Commands whose usage errors are one line, like any other error."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand, TyperGroup

from holdfast.cli.failure import usage_reported


class Command(TyperCommand):
    """One command: its words are read, or refused in one line."""

    def make_context(self, info_name: Any, args: Any, parent: Any = None, **extra: Any) -> Any:
        """As typer's."""
        path = info_name if parent is None else f"{parent.command_path} {info_name}"
        with usage_reported(path):
            return super().make_context(info_name, args, parent, **extra)


class Commands(TyperGroup):
    """All commands under one name. Without any word it shows its help, as typer does."""

    def make_context(self, info_name: Any, args: Any, parent: Any = None, **extra: Any) -> Any:
        """As typer's."""
        if not args:  # no error, though typer raises the help as one
            return super().make_context(info_name, args, parent, **extra)
        with usage_reported(info_name):
            return super().make_context(info_name, args, parent, **extra)

    def resolve_command(self, ctx: Any, args: Any) -> Any:
        """As typer's."""
        with usage_reported(ctx.command_path):
            return super().resolve_command(ctx, args)
