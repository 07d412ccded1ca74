"""The public face of profiles: what is remembered of one user or agent, in the project's form."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from holdfast import limits
from holdfast.core import intake, verbs
from holdfast.core.fence import OPEN, Fence
from holdfast.core.profiles import KINDS, SETTING, ProfileKind, merged
from holdfast.engine import profiles as engine
from holdfast.engine import projects, read
from holdfast.engine.auditing import audited
from holdfast.engine.parts import Parts
from holdfast.engine.profiles import Profile
from holdfast.errors import ValidationError
from holdfast.model import Entity, Job, Json


@audited(verbs.PROFILES, "profiles.")
class Profiles:
    """Profiles of a deployment's projects; `AsyncAdmin.profiles` gives it.

    Where a method takes `project`, None means the project of the configuration.
    """

    def __init__(self, parts: Callable[[str | None, Fence], Awaitable[Parts]]) -> None:
        """`parts`: gives those of a project, or of a part of one, opened."""
        self._parts = parts

    async def settings(self, *, project: str | None = None) -> Mapping[str, Json]:
        """`{"enabled", "entities": {"user" | "agent": {"schema"?, "custom_instructions"?}}}`."""
        parts = await self._parts(project, OPEN)
        info = await projects.find(parts, parts.project)
        return merged(info.settings, {})

    async def configure(
        self, change: Mapping[str, Json], *, project: str | None = None
    ) -> Mapping[str, Json]:
        """Change the settings that are named, of the form of `settings`; None clears one.

        Every property of a schema needs a description. Raises ValidationError, TooLargeError.
        """
        parts = await self._parts(project, OPEN)
        info = await projects.find(parts, parts.project)
        changed = merged(info.settings, change)
        await projects.update(parts, {SETTING: changed})
        return changed

    async def find(
        self, entity_id: str, kind: str = "user", *, project: str | None = None
    ) -> Profile:
        """The profile of a user (or agent) as it stands; asking for one has it made, or made anew
        where it is stale. Raises NotFoundError for somebody without memories."""
        return await engine.find(await self._parts(project, OPEN), _entity(entity_id, kind))

    async def generate(
        self,
        entity_id: str,
        kind: str = "user",
        *,
        idempotency_key: str | None = None,
        project: str | None = None,
    ) -> tuple[str, bool]:
        """Have a profile made now: the id of the job, and whether the key had begun it before.

        Without a language model it is made when this returns: lists of the form hold the memories
        of the category they are named for. Raises NotFoundError, ValidationError, TooLargeError.
        """
        key = intake.optional_id(idempotency_key, "idempotency_key")
        return await engine.generate(
            await self._parts(project, OPEN), _entity(entity_id, kind), key
        )

    async def sample(
        self, limit: int = 3, kind: str = "user", *, project: str | None = None
    ) -> Mapping[str, str]:
        """Have the profiles of a few made, to try a form: the jobs by the ids they are of."""
        size = intake.clean_count(limit, "limit", limits.PROFILES_SAMPLED_MAX)
        parts = await self._parts(project, OPEN)
        some, _ = await read.entities(parts, 0, limits.PAGE_SIZE_MAX)
        wanted = [one for one in some if one.kind == _kind(kind) and one.memories][:size]
        return {
            one.id: (await engine.generate(parts, Entity(one.kind, one.id)))[0] for one in wanted
        }

    async def job(self, job_id: str, *, project: str | None = None) -> Job:
        """The job that makes a profile. Raises NotFoundError."""
        parts = await self._parts(project, OPEN)
        return await engine.job(parts, intake.clean_id(job_id, "job_id"))


def _kind(kind: str) -> ProfileKind:
    if kind not in KINDS:
        raise ValidationError("entity_type is unknown.", hint=f"Use {' or '.join(KINDS)}.")
    return kind


def _entity(entity_id: str, kind: str) -> Entity:
    return Entity(_kind(kind), intake.clean_id(entity_id, "entity_id"))
