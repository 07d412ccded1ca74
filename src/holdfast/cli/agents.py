"""Memory for agents on this machine: MCP over standard input and output."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Any

import typer

from holdfast.acts import acting, process_actor
from holdfast.cli.options import USER, Common
from holdfast.cli.store import opened_async
from holdfast.errors import MissingExtraError

if TYPE_CHECKING:
    from holdfast.server.mcp.tools import Face, Outcome, Tool

ANYBODY = "me"
"""The user of an agent that is told nothing else."""


def mcp(
    common: Common,
    user: Annotated[
        str,
        typer.Option(
            "--user",
            "-u",
            envvar=USER,
            show_envvar=True,
            metavar="ID",
            help="Who is meant where the agent names no user.",
        ),
    ] = ANYBODY,
    url: Annotated[
        str | None,
        typer.Option(
            "--url",
            envvar="HOLDFAST_URL",
            show_envvar=True,
            metavar="URL",
            help="A server to remember on, instead of this machine.",
        ),
    ] = None,
    api_key: Annotated[
        str | None,
        typer.Option(
            "--api-key",
            envvar="HOLDFAST_API_KEY",
            show_envvar=True,
            metavar="KEY",
            help="The key for that server; better in the environment.",
        ),
    ] = None,
) -> None:
    """Serve an agent that speaks MCP over stdin and stdout, such as Claude Desktop or Cursor."""
    if find_spec("mcp") is None:
        raise MissingExtraError("`holdfast mcp` needs MCP.", hint="pip install 'holdfast[mcp]'")
    with acting(process_actor("mcp")):
        asyncio.run(_serve(common, user.strip() or ANYBODY, url, api_key))


async def _serve(common: Common, user: str, url: str | None, api_key: str | None) -> None:
    from mcp import stdio_server

    from holdfast.server.mcp.server import server_of
    from holdfast.server.mcp.tools import TOOLS, call, with_user

    async with _face(common, url, api_key) as face:

        async def carry(tool: Tool, given: Mapping[str, Any]) -> Outcome:
            return await call(tool, face, with_user(tool, given, user))

        server = server_of({tool.name: tool for tool in TOOLS}, carry)
        async with stdio_server() as (incoming, outgoing):
            await server.run(incoming, outgoing, server.create_initialization_options())


def _face(common: Common, url: str | None, api_key: str | None) -> Face:
    if not url:
        return opened_async(common)
    from holdfast import AsyncClient

    return AsyncClient(url, api_key)


COMMANDS: dict[str, Callable[..., None]] = {"mcp": mcp}
