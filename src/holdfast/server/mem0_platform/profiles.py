"""The routes of Mem0's hosted platform for profiles of users and agents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from fastapi import Depends, Query
from pydantic import BaseModel, Field
from starlette.routing import Match
from starlette.types import Scope

from holdfast.clock import iso
from holdfast.core.profiles import KINDS, ProfileKind
from holdfast.errors import NotFoundError, ValidationError
from holdfast.limits import PROFILES_SAMPLED_MAX
from holdfast.model import Json
from holdfast.server.bodies import IdempotencyKey
from holdfast.server.context import Context, allow
from holdfast.server.mem0_platform.shared import Place, check_place
from holdfast.server.reply import Reply
from holdfast.server.routing import Route, Routes

route = Routes("Mem0 platform: profiles", slashes=True)
router = route.router

_JOBS = "/v2/profiles/jobs"
_SETTINGS = "/v2/profiles/settings"
_SAMPLED = 3

_SCHEMA = {
    "type": "object",
    "properties": {"diet": {"type": "string", "description": "What they may not eat."}},
}

Somewhere = Annotated[Place, Query()]


class ProfileRoute(Route):
    """The last part of a path is `profile`: one that was written `%2Fprofile` ends somebody's name,
    whose entity is asked for."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        written = scope.get("raw_path") or b""
        if written.partition(b"?")[0].rstrip(b"/").lower().endswith(b"%2fprofile"):
            return Match.NONE, {}
        return super().matches(scope)


class KindBody(Place):
    """How profiles of a kind are made; null clears what it names."""

    schema_: Annotated[
        dict[str, Any] | None,
        Field(alias="schema", description="JSON Schema; each property has a description."),
    ] = None
    custom_instructions: str | None = None


class ProfileSettingsBody(Place):
    """What is to be set; what is left out stays."""

    enabled: bool | None = None
    entities: Annotated[
        dict[ProfileKind, KindBody] | None, Field(examples=[{"user": {"schema": _SCHEMA}}])
    ] = None

    def change(self) -> dict[str, Json]:
        """The keys that are named, null ones too."""
        entities = {
            kind: one.model_dump(include=_OF_A_KIND, exclude_unset=True, by_alias=True)
            for kind, one in (self.entities or {}).items()
        }
        return {"enabled": self.enabled, "entities": entities}


_OF_A_KIND = {"schema_", "custom_instructions"}


class JobBody(Place):
    """Whose profile is made now: of one, or of a few to try the schema."""

    operation: Literal["trigger", "sample"]
    entity_type: ProfileKind = "user"
    entity_id: Annotated[str | None, Field(examples=["alice"])] = None
    limit: Annotated[int, Field(ge=1, le=PROFILES_SAMPLED_MAX)] = _SAMPLED


class ProfileShape(BaseModel):
    """A profile as it stands; `profile` is empty unless it succeeded."""

    profile: dict[str, Any]
    status: Literal["succeeded", "pending", "failed", "not_enabled", "insufficient_data"]
    entity_type: ProfileKind
    entity_id: str
    updated_at: str | None
    generation_count: Annotated[int, Field(description="How often it was made, or begun to be.")]


class KindShape(BaseModel):
    """How profiles of a kind are made."""

    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")]
    custom_instructions: str | None


class SettingsShape(BaseModel):
    """What is set, and what can be."""

    enabled: bool
    capabilities: dict[str, bool]
    entities: dict[str, KindShape]


class JobMade(BaseModel):
    """Profiles are being made; `status_url` tells how far it is."""

    job_id: str
    status: Literal["pending"]
    status_url: str
    operation: Literal["trigger", "sample"]
    entity_type: ProfileKind
    entity_id: str | None = None
    entity_count_reserved: int
    event_id: str
    replayed: Annotated[bool, Field(description="The Idempotency-Key had begun it before.")]
    sampled: int | None = None
    entity_ids: list[str] | None = None
    results: list[dict[str, str]] | None = None


class JobState(BaseModel):
    """How far it is."""

    id: str
    status: Literal["pending", "succeeded", "failed"]
    total: int
    completed: int
    succeeded: int
    failed: int
    skipped: int
    enumeration_complete: bool


class JobShape(BaseModel):
    """A job that makes profiles."""

    job: JobState


for _kind in KINDS:  # spelt out: only these have profiles

    def _route(kind: ProfileKind) -> None:
        @route(
            "GET",
            f"/v2/entities/{kind}/{{name:path}}/profile",
            summary=f"Get the profile of one {kind}",
            name=f"profile_of_{kind}",
            route_class_override=ProfileRoute,
            response_model=ProfileShape,
        )
        async def profile(
            name: str, place: Somewhere, context: Annotated[Context, Depends(allow("get_profile"))]
        ) -> Reply:
            """What is remembered of somebody, in the form that was set. Asking for it has it made,
            and made anew when ten memories came since."""
            check_place(context, place)
            found = await context.admin.profiles.find(name, kind, project=context.project)
            return Reply(
                {
                    "profile": found.profile,
                    "status": found.state,
                    "entity_type": kind,
                    "entity_id": found.entity.id,
                    "updated_at": iso(found.updated_at),
                    "generation_count": found.generations,
                }
            )

    _route(_kind)


@route("GET", _SETTINGS, summary="Get the settings of profiles", response_model=SettingsShape)
async def settings(
    place: Somewhere, context: Annotated[Context, Depends(allow("get_project"))]
) -> Reply:
    """Whether profiles are made, and in which form."""
    check_place(context, place)
    return Reply(_settings(await context.admin.profiles.settings(project=context.project)))


@route("POST", _SETTINGS, summary="Change the settings of profiles", response_model=SettingsShape)
async def update_settings(
    body: ProfileSettingsBody, context: Annotated[Context, Depends(allow("update_project"))]
) -> Reply:
    """Set the form of profiles, or whether they are made. Those that are there stay until they are
    made anew."""
    check_place(context, body)
    changed = await context.admin.profiles.configure(body.change(), project=context.project)
    return Reply(_settings(changed))


@route("POST", _JOBS, summary="Make profiles now", status_code=202, response_model=JobMade)
async def create_job(
    body: JobBody,
    context: Annotated[Context, Depends(allow("generate_profile"))],
    idempotency_key: IdempotencyKey = None,
) -> Reply:
    """Have the profile of one made, or those of a few to try a schema."""
    check_place(context, body)
    profiles, kind = context.admin.profiles, body.entity_type
    told: dict[str, Json] = {}
    if body.operation == "sample":
        made = await profiles.sample(body.limit, kind, project=context.project)
        jobs, replayed = list(made.values()), False
        told = {
            "sampled": len(made),
            "entity_ids": list(made),
            "results": [{"entity_id": name} for name in made],
        }
        if not jobs:
            raise ValidationError(f"No {kind} has memories yet.", hint="Add some first.")
    elif body.entity_id is None:
        raise ValidationError("entity_id is missing.", hint="Say whose profile is meant.")
    else:
        id_, replayed = await profiles.generate(
            body.entity_id, kind, idempotency_key=idempotency_key, project=context.project
        )
        jobs, told = [id_], {"entity_id": body.entity_id}
    job_id = ",".join(jobs)
    return Reply(
        {
            "job_id": job_id,
            "status": "pending",
            "status_url": f"{_JOBS}/{job_id}/",
            "operation": body.operation,
            "entity_type": kind,
            "entity_count_reserved": len(jobs),
            "event_id": jobs[0],
            "replayed": replayed,
            **told,
        },
        202,
    )


@route("GET", _JOBS + "/{job_id}", summary="Get a job of profiles", response_model=JobShape)
async def get_job(
    job_id: str, place: Somewhere, context: Annotated[Context, Depends(allow("get_profile"))]
) -> Reply:
    """How far the profiles of a call are."""
    check_place(context, place)
    ids = job_id.split(",")
    if len(ids) > PROFILES_SAMPLED_MAX:
        raise NotFoundError("There is no such job.", hint="Use the status_url of the call.")
    jobs = [await context.admin.profiles.job(one, project=context.project) for one in ids]
    states = [job.state for job in jobs]
    good, bad = states.count("SUCCEEDED"), states.count("FAILED")
    done = good + bad == len(states)
    told = {
        "id": job_id,
        "status": "pending" if not done else "failed" if bad else "succeeded",
        "total": len(states),
        "completed": good + bad,
        "succeeded": good,
        "failed": bad,
        "skipped": 0,
        "enumeration_complete": True,
    }
    return Reply({"job": told})


def _settings(found: Mapping[str, Json]) -> dict[str, Json]:
    entities = found["entities"]
    return {
        "enabled": found["enabled"],
        "capabilities": {"full_rebuild": False},
        "entities": {
            kind: {
                "schema": entities.get(kind, {}).get("schema"),
                "custom_instructions": entities.get(kind, {}).get("custom_instructions"),
            }
            for kind in KINDS
        },
    }
