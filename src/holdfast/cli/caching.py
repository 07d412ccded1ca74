"""The cache, which may be emptied at any time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import typer

from holdfast.cli import output
from holdfast.cli.access import done
from holdfast.cli.options import Common
from holdfast.cli.store import resolved

if TYPE_CHECKING:
    from holdfast.admin import AsyncAdmin


def clear_cache(common: Common) -> None:
    """Forget cached answers and vectors, as after a backup was restored.

    Each process that serves keeps some by itself as well, which end with it.
    """

    async def work(admin: AsyncAdmin) -> None:
        await admin.clear_cache()

    shared = resolved(common).config.cache.provider == "redis"
    if shared:
        done(common, work)
    if common.json:
        output.print_json({"cleared": shared})
    elif shared:
        typer.echo("cleared; restart the processes that serve")
    else:
        typer.echo("nothing to clear: each process keeps its own, which ends with it")


GROUPS: dict[str, tuple[str, dict[str, Callable[..., None]]]] = {
    "cache": ("The cache of answers and vectors.", {"clear": clear_cache}),
}
