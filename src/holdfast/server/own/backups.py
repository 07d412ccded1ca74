"""Our own routes to backups: list them, their status, make one."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Depends, Path
from pydantic import BaseModel, ConfigDict, Field

from holdfast.admin.backups import BackupWork
from holdfast.clock import iso
from holdfast.engine.backups import Backup
from holdfast.model import Json
from holdfast.server.context import Context, allow
from holdfast.server.reply import Reply
from holdfast.server.routing import Routes

route = Routes("Holdfast: backups")
router = route.router

BackupId = Annotated[str, Path(max_length=64, pattern=r"^[A-Za-z0-9-]+$")]


class BackupBody(BaseModel):
    """How a backup is made."""

    model_config = ConfigDict(extra="forbid")

    full: Annotated[bool, Field(description="All of it, not only what changed.")] = False


class BackupShape(BaseModel):
    """A backup."""

    id: Annotated[str, Field(examples=["20261126T030000Z-1a2b3c4d"])]
    kind: Literal["full", "incremental", "keys"]
    created_at: str
    size: Annotated[int, Field(description="Bytes.")]
    base: Annotated[str | None, Field(description="The full one that an incremental one needs.")]
    sealed: bool
    whole: Annotated[bool, Field(description="False: it was cut off, or its ends were changed.")]


class BackupWorkShape(BaseModel):
    """A backup that the process that answers makes, or made last, because it was asked."""

    state: Literal["RUNNING", "SUCCEEDED", "FAILED", "CANCELLED"]
    done: Annotated[int, Field(description="Rows.")]
    total: int
    started_at: str
    ended_at: str | None
    backup_id: str | None
    error: Annotated[str | None, Field(examples=["BACKUP_UNAVAILABLE"])]


class BackupsShape(BaseModel):
    """How backups stand."""

    backups: Annotated[list[BackupShape], Field(description="The oldest first.")]
    too_old: Annotated[bool, Field(description="There is none, or the newest is too old.")]
    failed_at: Annotated[str | None, Field(description="When the last one by schedule failed.")]
    next_at: Annotated[str | None, Field(description="When the next one is due.")]
    work: BackupWorkShape | None


class BackupContentsShape(BaseModel):
    """What a backup holds."""

    backup: BackupShape
    tables: Annotated[dict[str, int], Field(description="Rows of each table.")]
    fresh: Annotated[int, Field(description="Rows that are not in the base.")]


@route("GET", "/holdfast/backups", summary="How backups stand", response_model=BackupsShape)
async def backups(context: Annotated[Context, Depends(allow("backups"))]) -> Reply:
    """The backups of the configured place, and how they stand."""
    face = context.admin.backups
    work = face.work  # first: of one that is done, the rest tells as well
    status = await face.status()
    return Reply(
        {
            "backups": [_backup(one) for one in await face.listed()],
            "too_old": status.too_old,
            "failed_at": iso(status.failed_at),
            "next_at": iso(status.next_at),
            "work": _work(work),
        }
    )


@route(
    "POST",
    "/holdfast/backups",
    summary="Make a backup",
    status_code=202,
    response_model=BackupWorkShape,
)
async def create_backup(
    body: BackupBody, context: Annotated[Context, Depends(allow("create_backup"))]
) -> Reply:
    """Begins in the background of the process that answers; the status tells how it goes."""
    return Reply(_work(await context.admin.backups.begin(full=body.full)), 202)


@route(
    "GET",
    "/holdfast/backups/{backup_id}",
    summary="What a backup holds",
    response_model=BackupContentsShape,
)
async def show_backup(
    backup_id: BackupId, context: Annotated[Context, Depends(allow("backups"))]
) -> Reply:
    """`latest` is the newest of this store."""
    found = await context.admin.backups.show(backup_id)
    return Reply(
        {"backup": _backup(found.backup), "tables": dict(found.tables), "fresh": found.fresh}
    )


def _backup(one: Backup) -> dict[str, Json]:
    return {
        "id": one.id,
        "kind": one.kind,
        "created_at": iso(one.created_at),
        "size": one.size,
        "base": one.base,
        "sealed": one.sealed,
        "whole": one.whole,
    }


def _work(work: BackupWork | None) -> dict[str, Json] | None:
    if work is None:
        return None
    return {
        "state": work.state,
        "done": work.done,
        "total": work.total,
        "started_at": iso(work.started_at),
        "ended_at": iso(work.ended_at),
        "backup_id": work.backup_id,
        "error": work.error,
    }
