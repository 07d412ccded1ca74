"""The routes of Mem0's open-source server for settings, and for the log of requests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Body as FromBody
from fastapi import Depends, Query
from pydantic import Field

from holdfast.config import Config, Part, redacted
from holdfast.errors import UnsupportedError, ValidationError
from holdfast.model import Json
from holdfast.server.bodies import Body, Done
from holdfast.server.context import Context, allow
from holdfast.server.mem0_oss.shapes import AnsweredRequest, Configuration, Instructions, Providers
from holdfast.server.reply import Reply
from holdfast.server.routing import Routes

route = Routes("Mem0 open source: settings")
router = route.router

MODELS = ("llm", "embedder", "reranker")
PROJECT = (
    "custom_instructions",
    "agent_custom_instructions",
    "custom_categories",
    "multilingual",
    "decay",
)
"""What is set for the project: durably, and in force from the next call on."""

FIXED = (*MODELS, "vector_store", "graph_store", "history_db_path", "version")
"""What is read once, when the server starts."""

_VERSION = "v1.1"
_SETTINGS = Annotated[
    dict[str, Any], FromBody(examples=[{"custom_instructions": "Keep what people eat."}])
]


class UseCaseBody(Body):
    """What a memory is to be used for."""

    use_case: Annotated[str, Field(min_length=1, examples=["A coach for runners"])]


@route("GET", "/configure", summary="The settings in force", response_model=Configuration)
async def configuration(context: Annotated[Context, Depends(allow("settings"))]) -> Reply:
    """Models and project settings, secrets hidden; the models' own settings for the administrator
    of the deployment only."""
    return Reply(await _settings(context, whole=context.principal.is_root))


@route("GET", "/configure/providers", summary="Providers of models", response_model=Providers)
async def providers(context: Annotated[Context, Depends(allow("settings"))]) -> Reply:
    """The providers a configuration may name."""
    return Reply(context.admin.providers())


@route("POST", "/configure", summary="Change settings", response_model=Done)
async def configure(
    body: _SETTINGS, context: Annotated[Context, Depends(allow("configure"))]
) -> Reply:
    """Set what belongs to the project; what is read at the start may be repeated, not changed.

    All of it or nothing.
    """
    known = await _settings(context, whole=True)
    for name, value in body.items():
        if name in PROJECT:
            _check(name, value)
        elif name not in FIXED:
            raise ValidationError(
                f"No setting is called {name[:64]!r}.", hint=f"There are {', '.join(PROJECT)}."
            )
        elif not _same(value, known.get(name)):
            raise UnsupportedError(
                f"{name} cannot be changed while the server runs; nothing was changed.",
                hint="Change it in the configuration file and restart the server.",
            )
    changed = {name: value for name, value in body.items() if name in PROJECT}
    if changed:
        await context.admin.update_project(changed, project=context.project)
    return Reply({"message": "Configuration set successfully"})


@route(
    "POST",
    "/generate-instructions",
    summary="Write instructions for a use case",
    response_model=Instructions,
)
async def generate_instructions(
    body: UseCaseBody, context: Annotated[Context, Depends(allow("instructions"))]
) -> Reply:
    """Custom instructions that a language model suggests, and a message to try them with."""
    made = await context.admin.suggest_instructions(body.use_case, project=context.project)
    return Reply(
        {"custom_instructions": made.custom_instructions, "test_message": made.test_message}
    )


@route("GET", "/requests", summary="The last requests", response_model=list[AnsweredRequest])
async def requests(
    context: Annotated[Context, Depends(allow("requests"))],
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Reply:
    """Requests that this process answered, the newest first, without what was said in them."""
    project = None if context.principal.is_root else context.project
    return Reply(context.deployment.requests.latest(limit, project))


async def _settings(context: Context, *, whole: bool) -> dict[str, Json]:
    """What GET tells; `whole`: with the models' own settings."""
    config: Config = context.admin.config
    info = await context.admin.project(context.project)
    own = {name: info.settings.get(name) for name in PROJECT}
    if own["custom_instructions"] is None:
        own["custom_instructions"] = config.custom_instructions
    models = {name: _model(getattr(config, name), whole=whole) for name in MODELS}
    return {"version": _VERSION, **models, **own}


def _model(part: Part | None, *, whole: bool) -> Json:
    if part is None:
        return None
    shown = dict(part.config) if whole else {k: v for k, v in part.config.items() if k == "model"}
    return {"provider": part.provider, "config": redacted(shown)}


def _same(value: Json, known: Json) -> bool:
    """Whether a setting is only repeated: what is hidden may be left out or sent hidden."""
    if isinstance(value, Mapping) and isinstance(known, Mapping):
        return value.keys() <= known.keys() and all(_same(value[k], known[k]) for k in value)
    return bool(value == known)


def _check(name: str, value: Json) -> None:
    """Refuse what the setting cannot be."""
    kinds: dict[str, tuple[type, ...]] = {
        "custom_categories": (list,),
        "multilingual": (bool,),
        "decay": (bool,),
    }
    wanted = kinds.get(name, (str,))
    if value is not None and not isinstance(value, wanted):
        raise ValidationError(
            f"{name} is of the wrong kind.", hint=f"Give {wanted[0].__name__}, or null to clear it."
        )
