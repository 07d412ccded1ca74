"""Running it: the server, and workers without one."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import holdfast
from holdfast.cli.options import Common
from holdfast.errors import MissingExtraError, ValidationError

if TYPE_CHECKING:
    from holdfast.config import Config

_FORMATS = ("text", "json")
_PACKAGES = frozenset(
    ("fastapi", "uvicorn", "httptools", "limits", "prometheus_client", "jwt", "starlette")
)
"""What the extra `server` brings."""

_SHOWN = "hf-..."
_TRIAL = (
    'curl {address}/holdfast/add -H "Authorization: Bearer $KEY" '
    """-d '{{"messages": "I like tea.", "user_id": "me"}}'"""
)
"""A first call; the key stands above it, once."""

LogFormat = Annotated[
    str, typer.Option("--log-format", metavar="FORM", help="Lines of the log: text or json.")
]


def serve(
    common: Common,
    host: Annotated[
        str | None, typer.Option("--host", metavar="ADDRESS", help="Address to listen on.")
    ] = None,
    port: Annotated[
        int | None, typer.Option("--port", metavar="N", min=0, max=65_535, help="Port; 0: a free.")
    ] = None,
    tls_cert: Annotated[
        Path | None, typer.Option("--tls-cert", metavar="FILE", help="Certificate chain, PEM.")
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option("--tls-key", metavar="FILE", help="Its private key, PEM.")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option("--workers", metavar="N", min=1, max=64, help="Processes that serve."),
    ] = None,
    log_format: LogFormat = "text",
) -> None:
    """Serve Mem0's APIs and Holdfast's own over HTTP until told to stop (Ctrl-C, SIGTERM).

    Options go before the settings of the section `server`.
    """
    _check_format(log_format)
    given = {
        "host": host,
        "port": port,
        "tls_cert": None if tls_cert is None else str(tls_cert),
        "tls_key": None if tls_key is None else str(tls_key),
        "processes": workers,
    }
    config = _config(common, {name: value for name, value in given.items() if value is not None})
    try:
        from holdfast.server import logs, processes, run
    except ModuleNotFoundError as fault:
        raise _missing(fault) from fault
    logs.configure(log_format)
    sockets = run.listen(config.server)

    def started(first: str | None) -> None:
        typer.echo(welcome(config, sockets[0].getsockname()[1], first), err=True)

    try:
        if config.server.processes > 1:
            code = processes.serve_all(config, sockets, log_format, started)
        else:
            code = run.serve(config, sockets, started)
    finally:
        for each in sockets:
            each.close()
    raise typer.Exit(code)


def worker(common: Common, log_format: LogFormat = "text") -> None:
    """Run jobs and tell webhooks, without serving: more hands beside a server on the same store.

    Told to stop, it hands the jobs it is at back, to be done by others.
    """
    _check_format(log_format)
    config = _config(common, {})
    from holdfast.server import logs

    logs.configure(log_format)
    asyncio.run(_work(config))


async def _work(config: Config) -> None:
    from holdfast.admin import AsyncAdmin
    from holdfast.server.opening import open_patiently

    stop = asyncio.Event()
    for sig in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(sig, stop.set)
    admin = AsyncAdmin(config)
    opening = asyncio.create_task(open_patiently(admin, config.server.store_wait_s))
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait((opening, stopped), return_when=asyncio.FIRST_COMPLETED)
    if stopped.done():
        opening.cancel()
        return
    await opening
    async with admin:
        typer.echo(
            f"Holdfast {holdfast.__version__} works at the jobs of {_store_told(config)}; "
            "Ctrl-C stops it.",
            err=True,
        )
        telling = asyncio.create_task(admin.webhooks.serve())
        erasing = asyncio.create_task(admin.erasure.serve())
        retaining = asyncio.create_task(admin.retention.serve())
        backing_up = asyncio.create_task(admin.backups.serve())
        await asyncio.wait((telling, stopped), return_when=asyncio.FIRST_COMPLETED)
        for task in (telling, erasing, retaining, stopped, backing_up):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


def welcome(config: Config, port: int, first: str | None) -> str:
    """What is said when the server answers: where it is, and what one needs to know first."""
    section = config.server
    host = f"[{section.host}]" if ":" in section.host else section.host or "localhost"
    address = f"{'https' if section.tls_cert else 'http'}://{host}:{port}"
    model = "no language model: messages are kept word for word"
    if config.llm is not None:
        model = f"{config.llm.provider} {config.llm.config.get('model', '')}".strip()
    rows = [
        ("address", address),
        ("documents", f"{address}/docs"),
        ("store", _store_told(config)),
        ("models", f"{config.embedder.provider}; {model}"),
        ("key", _key_told(config, first)),
    ]
    if first is not None:
        rows.append(("try it", f"KEY={_SHOWN}; {_TRIAL.format(address=address)}"))
    if section.processes > 1:
        together = section.redis_url or config.cache.provider == "redis"
        shared = "in Redis" if together else "in each by itself (redis_url shares them)"
        rows.append(("processes", f"{section.processes}; limits are counted {shared}"))
    lines = [f"  {name:10} {value}" for name, value in rows]
    return "\n".join([f"Holdfast {holdfast.__version__} serves. Ctrl-C stops it.", *lines, ""])


def _store_told(config: Config) -> str:
    from holdfast.config import RECORDS

    if config.records.provider != RECORDS:
        return config.records.provider
    return str(Path(config.path) / "holdfast.db")


def _key_told(config: Config, first: str | None) -> str:
    if config.server.auth_disabled:
        return "none is asked for: whoever reaches this address may do everything"
    if first is not None:
        return f"{first}  (the admin key; it is shown this once)"
    if config.server.admin_key:
        return "the admin key of the settings, and those made with it"
    return "those that were made (the first was shown once)"


def _check_format(log_format: str) -> None:
    if log_format not in _FORMATS:
        raise ValidationError("--log-format must be text or json.")


def _config(common: Common, section: dict[str, Any]) -> Config:
    from holdfast.config import load_config

    overrides: dict[str, Any] = {} if common.home is None else {"path": str(common.home)}
    if section:
        overrides["server"] = section
    return load_config(common.config, overrides=overrides).config


def _missing(fault: ModuleNotFoundError) -> Exception:
    """The error of an install without the extra; any other missing module is a fault of ours."""
    if (fault.name or "").partition(".")[0] not in _PACKAGES:
        return fault
    return MissingExtraError(
        f"The server needs {fault.name}, which is not installed.",
        hint="pip install 'holdfast[server]'",
    )


COMMANDS: dict[str, Callable[..., None]] = {"serve": serve, "worker": worker}
