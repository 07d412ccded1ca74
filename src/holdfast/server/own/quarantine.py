"""Our own routes to the quarantine: what untrusted sources said, let in or thrown away."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from holdfast.core.shapes import held_shape
from holdfast.limits import BATCH_MAX, HELD_PAGE_MAX, ID_CHARS_MAX, MESSAGES_PER_ADD_MAX
from holdfast.server.context import Context, allow
from holdfast.server.reply import Reply
from holdfast.server.routing import Routes

route = Routes("Holdfast: quarantine")
router = route.router

HeldId = Annotated[str, Path(examples=["0197a3c0-0000-7000-8000-000000000000"])]
Id = Annotated[str | None, Query(max_length=ID_CHARS_MAX)]


class ChoiceBody(BaseModel):
    """What is meant: some ids, or all of the entities named together."""

    model_config = ConfigDict(extra="forbid")

    held_ids: Annotated[list[str], Field(max_length=BATCH_MAX)] = []
    user_id: Annotated[str | None, Field(examples=["alice"])] = None
    agent_id: str | None = None
    app_id: str | None = None
    run_id: str | None = None
    messages: Annotated[
        list[int],
        Field(
            max_length=MESSAGES_PER_ADD_MAX,
            description="Only these of one id, by their numbers from 1; the others are held on"
            " under an id of their own.",
        ),
    ] = []


class ApprovalBody(ChoiceBody):
    """What is let in."""

    wait: Annotated[bool, Field(description="Until models made memories of it.")] = False


class AddedBy(BaseModel):
    """Who added it, as the audit names them."""

    id: str
    kind: str
    via: str


class HeldShape(BaseModel):
    """A held add, and how it begins."""

    id: str
    user_id: str | None = None
    agent_id: str | None = None
    app_id: str | None = None
    run_id: str | None = None
    added_by: AddedBy
    created_at: str
    messages: Annotated[int, Field(description="How many there are.")]
    role: str
    preview: Annotated[str, Field(description="How the first one begins.")]
    reasons: Annotated[
        list[str], Field(description="message, call, key, configuration or project.")
    ]


class HeldMessage(BaseModel):
    """A message of a held add."""

    role: str
    content: str
    name: str | None
    said_at: str | None
    reasons: Annotated[list[str], Field(description="Why it is held; none: it goes along.")]


class HeldWhole(BaseModel):
    """A held add with all its messages, and the arguments it came with."""

    id: str
    user_id: str | None = None
    agent_id: str | None = None
    app_id: str | None = None
    run_id: str | None = None
    added_by: AddedBy
    created_at: str
    messages: list[HeldMessage]
    metadata: dict[str, Any] | None = None
    categories: list[str] | None = None
    custom_categories: list[Any] | dict[str, Any] | None = None
    expires_on: str | None = None
    immutable: bool = False
    infer: bool = True
    instructions: str | None = None
    procedural: bool = False
    temporal_reasoning: bool = True


class HeldListShape(BaseModel):
    """A page of what is held."""

    results: list[HeldShape]
    total: int


class DecidedShape(BaseModel):
    """What became of it."""

    count: int
    left: Annotated[int, Field(description="Still held of the entities named.")]
    results: Annotated[
        list[dict[str, Any]] | None, Field(description="The answer of each add.")
    ] = None
    rest: Annotated[
        str | None, Field(description="The id of what is held on of a rejected add.")
    ] = None


@route("GET", "/holdfast/quarantine", summary="List what is held", response_model=HeldListShape)
async def list_held(
    context: Annotated[Context, Depends(allow("quarantine"))],
    user_id: Id = None,
    agent_id: Id = None,
    app_id: Id = None,
    run_id: Id = None,
    page: Annotated[int, Query(ge=1, le=1_000_000)] = 1,
    page_size: Annotated[int, Query(ge=1, le=HELD_PAGE_MAX)] = HELD_PAGE_MAX,
) -> Reply:
    """Of the entities named together, or of everybody the key may see; the newest first."""
    found = await context.admin.quarantine.listed(
        user_id=user_id,
        agent_id=agent_id,
        app_id=app_id,
        run_id=run_id,
        page=page,
        page_size=page_size,
        project=context.project,
        fence=context.principal.fence,
    )
    rows = [held_shape(held, whole=False) for held in found.rows]
    return Reply({"results": rows, "total": found.total})


@route(
    "GET", "/holdfast/quarantine/{held_id}", summary="Show what is held", response_model=HeldWhole
)
async def show_held(
    held_id: HeldId, context: Annotated[Context, Depends(allow("quarantine"))]
) -> Reply:
    """A held add with all its messages, and why each is held."""
    held = await context.admin.quarantine.find(
        held_id, project=context.project, fence=context.principal.fence
    )
    return Reply(held_shape(held, whole=True))


@route(
    "POST",
    "/holdfast/quarantine/approve",
    summary="Let in what is held",
    response_model=DecidedShape,
)
async def approve(
    body: ApprovalBody, context: Annotated[Context, Depends(allow("change_quarantine"))]
) -> Reply:
    """Add it as it would have been added, from the moment it was said; 1,000 at most at once.

    Called again for the same ids, it gives the same answer and adds nothing twice.
    """
    return Reply(
        await context.admin.quarantine.approve(
            **body.model_dump(), project=context.project, fence=context.principal.fence
        )
    )


@route(
    "POST",
    "/holdfast/quarantine/reject",
    summary="Throw away what is held",
    response_model=DecidedShape,
)
async def reject(
    body: ChoiceBody, context: Annotated[Context, Depends(allow("change_quarantine"))]
) -> Reply:
    """For good; 1,000 at most at once."""
    return Reply(
        await context.admin.quarantine.reject(
            **body.model_dump(), project=context.project, fence=context.principal.fence
        )
    )
