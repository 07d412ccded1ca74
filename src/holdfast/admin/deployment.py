"""The public face of a whole deployment: its projects, their keys and members, and their memories.

`AsyncMemory` is one project's memory; `AsyncAdmin` is what the server and the commands that run a
deployment work with. It opens the same store.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from msgspec.structs import replace

from holdfast.admin.accounts import Accounts
from holdfast.admin.audit import Audit
from holdfast.admin.backups import Backups, Source
from holdfast.admin.budgets import Budgets
from holdfast.admin.embedders import EmbedderChange
from holdfast.admin.erasure import Erasures
from holdfast.admin.exports import Exports
from holdfast.admin.indexes import Indexes
from holdfast.admin.profiles import Profiles
from holdfast.admin.quarantine import Quarantine
from holdfast.admin.retention import Retention
from holdfast.admin.sealing import Sealing
from holdfast.admin.usage import UsageLedger
from holdfast.admin.webhooks import Webhooks
from holdfast.assemble import Assembly
from holdfast.client import AsyncMemory
from holdfast.config import Config
from holdfast.core import intake, verbs
from holdfast.core.access import Principal, granted
from holdfast.core.fence import OPEN, Fence
from holdfast.core.project_settings import clean_description, clean_name
from holdfast.core.suggest import USE_CASE_CHARS_MAX, Suggestion
from holdfast.directory import PERMISSIONS, ApiKey, Member, Permission, ProjectInfo
from holdfast.engine import keys as keying
from holdfast.engine import members as joining
from holdfast.engine import projects as projecting
from holdfast.engine import suggest as suggesting
from holdfast.engine.auditing import audited
from holdfast.engine.keys import KeyRequest, NewKey, Recogniser
from holdfast.engine.parts import Parts
from holdfast.engine.uses import last_uses
from holdfast.errors import ClosedError, StoreError, ValidationError
from holdfast.metrics import Metrics, Part
from holdfast.model import Census, Entity, Json, Trust, When
from holdfast.registry import providers

if TYPE_CHECKING:
    from holdfast.assemble import Assembly
    from holdfast.backends.models.endpoints import Look

_VIEWS_MAX = 4_096

_log = logging.getLogger("holdfast")


@audited(verbs.ADMIN)
class AsyncAdmin:
    """Projects, keys, members and memories of one deployment; opens with `async with`.

    Where a method takes `project`, None means the project of the configuration.
    """

    def __init__(self, config: Config | Mapping[str, Json] | str | Path | None = None) -> None:
        """`config`: as for `AsyncMemory`. Raises ConfigError."""
        self._memory = _audited_whole(AsyncMemory(config))
        self._views: dict[tuple[str, Fence, Trust], AsyncMemory] = {}
        self._recogniser: Recogniser | None = None
        self.accounts = Accounts(self._parts)
        """Who signs in with a password."""
        self.webhooks = Webhooks(self._parts, self.config)
        """Addresses that are told of what happens."""
        self.exports = Exports(self._parts)
        """What is made of memories."""
        self.profiles = Profiles(self._parts)
        """What is remembered of one user or agent, in a form that was set."""
        self.backups = Backups(self.config, lambda: self._is_open, self._backup_source, self._parts)
        """Copies of everything, and the way back."""
        self.sealing = Sealing(self._parts)
        """What texts are sealed with."""
        self.audit = Audit(self._parts, self.config)
        """Who did what."""
        self.erasure = Erasures(
            self._parts, _Elsewhere(self), lambda: self._assembled().records.indexing
        )
        """Forgetting subjects, and the proof of it."""
        self.retention = Retention(self._parts, lambda: self._assembled().records.indexing)
        """What is removed for its age."""
        self.quarantine = Quarantine(self._parts)
        """What untrusted sources said."""
        self.index = Indexes(self._parts)
        """What finds them, if it is outside of this process."""
        self.budgets = Budgets(self._parts)
        """How much they may take."""
        self.usage = UsageLedger(self._parts)
        """What calls of models took and cost."""
        self.embedder = EmbedderChange(self._parts, lambda: self._assembled().records.indexing)
        """Changing the embedder while all goes on."""

    @property
    def config(self) -> Config:
        """The settings in force."""
        return self._memory._resolved.config

    async def _backup_source(self) -> Source:
        parts = await self._parts()
        return Source(self._assembled().records.indexing, parts)

    @property
    def _is_open(self) -> bool:
        return self._memory._assembly is not None and not self._memory._closed

    async def open(self) -> None:
        """Open the store, load the models, start the workers. Idempotent; raises StoreError."""
        await self._memory.open()
        self._recogniser = Recogniser(await self._parts(), self.config.server.admin_key)

    async def aclose(self) -> None:
        """Stop the workers, close the store. Idempotent."""
        recogniser, self._recogniser = self._recogniser, None
        if recogniser is not None:
            try:
                await recogniser.uses.write(everything=True)
            except StoreError as error:
                _log.warning("the last uses of keys are not written: %s", error.code)
        await self.backups.close()
        await self.index.close()
        await self.embedder.close()
        await self._memory.aclose()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    def memory(
        self, project: str | None = None, fence: Fence = OPEN, trust: Trust = "trusted"
    ) -> AsyncMemory:
        """The memory of a project, or what of it is inside a fence; the deployment stays open when
        it is closed. Whether there is such a project is not looked up.

        `trust`: untrusted holds all that is added.
        """
        place = (project or self.config.project, fence, trust)
        view = self._views.get(place)
        if view is None:
            if len(self._views) >= _VIEWS_MAX:
                self._views.clear()
            view = self._views[place] = self._memory._within(*place)
        return view

    # ------------------------------------------------------------------ how it does

    @property
    def metrics(self) -> Metrics:
        """What the parts of the open deployment count while they work."""
        return self._open_parts().metrics

    @property
    def embeds_here(self) -> bool:
        """Whether the embedder of the open deployment computes in this process."""
        return self._open_parts().embedder.in_process

    async def census(self) -> Census:
        """Counts over all projects. Costs a scan of the store; ask seldom. Raises StoreError."""
        parts = await self._parts()
        return await parts.records.census(parts.clock.now())

    async def probe(self) -> None:
        """Read one row of the store. Raises StoreError, ClosedError if it does not answer."""
        await (await self._parts()).directory.last_change()

    async def probe_cache(self) -> None:
        """Ask the cache. Raises CacheUnavailableError if it does not answer."""
        await self._assembled().cache.probe()

    async def reach(self, part: Part) -> Sequence[Look]:
        """Connect to where the models of a part are asked, and send nothing: how that went, in the
        order in which they are asked. Remembered for ENDPOINT_AGE_MAX_S.

        Nothing for what is in this process, behind a proxy, or at an address that is not known.
        """
        endpoints = self._assembled().endpoints
        return () if endpoints is None else await endpoints.of(part)

    async def clear_cache(self) -> None:
        """Forget all answers and vectors of the shared cache and of this process.

        Needed after the records were put back to an earlier state, as from a backup: what is
        written from then on counts as what was lost did. Raises CacheUnavailableError.
        """
        await self._parts()
        await self._assembled().clear_cache()

    # ------------------------------------------------------------------ who calls

    async def recognise(self, key: str) -> Principal:
        """Whose API key it is. Raises AuthenticationError for one that is not, or not any more,
        in force."""
        if self._recogniser is None:
            await self.open()
        assert self._recogniser is not None
        return await self._recogniser.principal(key)

    async def create_key(
        self,
        *,
        project: str | None = None,
        label: str = "",
        permissions: Iterable[str] = ("read", "write"),
        users: Sequence[str] | None = None,
        agents: Sequence[str] | None = None,
        apps: Sequence[str] | None = None,
        runs: Sequence[str] | None = None,
        expires_at: When = None,
        account: str | None = None,
        trust: Trust | None = None,
    ) -> NewKey:
        """Make a key; its secret is told in the answer and never again.

        Args:
            permissions: any of read, write, admin, or a role: reader, writer, admin.
            users, agents, apps, runs: the only ones whose memories it may touch, if given.
            expires_at: from when on it is refused.
            trust: "untrusted" holds all that is added with it, and lets it change nothing else.

        Raises:
            ValidationError; NotFoundError for an unknown project.
        """
        parts = await self._parts(project)
        await projecting.find(parts, parts.project)
        ends_at = intake.moment(expires_at, "expires_at")
        if ends_at is not None and ends_at <= parts.clock.now():
            raise ValidationError(
                "expires_at is over already: the key would never be good.",
                hint="A date is its first moment, midnight UTC.",
            )
        request = KeyRequest(
            label=intake.clean_text(label, "label", 256) if label else "",
            permissions=_permissions(permissions),
            fence=_fence(users, agents, apps, runs),
            expires_at=ends_at,
            account=account,
            trust=_trust(trust, permissions),
        )
        return await keying.create(parts, request)

    async def keys(self, *, project: str | None = None) -> Sequence[ApiKey]:
        """The keys of a project, revoked and expired ones too, the newest first."""
        return await keying.listed(await self._parts(project))

    async def key_uses(self, keys: Sequence[ApiKey]) -> Mapping[str, float]:
        """When each of these keys was used last, in epoch seconds by its id, to within some
        minutes; those that never were are not in it."""
        return await last_uses(await self._parts(), keys)

    async def write_key_uses(self) -> None:
        """Write from time to time which keys were recognised here, until cancelled."""
        await self.open()
        assert self._recogniser is not None
        await self._recogniser.uses.serve()

    async def first_key(self) -> NewKey | None:
        """A key that runs the deployment, if neither the configuration nor the store has one.

        Of several processes that start at once, one gets it; the others, and every later start,
        get None.
        """
        if self.config.server.admin_key or self.config.server.auth_disabled:
            return None
        return await keying.first(await self._parts())

    async def rotate_key(
        self, key_id: str, *, project: str | None = None, grace_s: float = 0.0
    ) -> NewKey:
        """A new key in place of an old one, which stays good for `grace_s` seconds.

        Raises NotFoundError, ValidationError.
        """
        grace_s = intake.clean_seconds(grace_s, "grace_s")
        return await keying.rotate(await self._parts(project), key_id, grace_s)

    async def revoke_key(self, key_id: str, *, project: str | None = None) -> None:
        """Refuse a key from now on, in every process. Raises NotFoundError."""
        await keying.revoke(await self._parts(project), key_id)

    # ------------------------------------------------------------------ projects and members

    async def create_project(
        self, name: str, *, description: str | None = None, project_id: str | None = None
    ) -> ProjectInfo:
        """A new, empty project. Raises ValidationError, ConflictError."""
        name, description = clean_name(name), clean_description(description)
        return await projecting.create(await self._parts(), name, description, project_id)

    async def projects(self) -> Sequence[ProjectInfo]:
        """Every project."""
        return await projecting.listed(await self._parts())

    async def project(self, project: str | None = None) -> ProjectInfo:
        """One project. Raises NotFoundError."""
        parts = await self._parts(project)
        return await projecting.find(parts, parts.project)

    async def update_project(
        self, values: Mapping[str, Json], *, project: str | None = None
    ) -> ProjectInfo:
        """Set its name, description, or any of `engine.projects.SETTINGS`; None clears.

        Raises NotFoundError, ValidationError.
        """
        return await projecting.update(await self._parts(project), values)

    async def suggest_instructions(
        self, use_case: str, *, project: str | None = None
    ) -> Suggestion:
        """Custom instructions for a use case, and a message to try them with; sets nothing.

        Raises ValidationError, UnsupportedError without a language model, ModelError.
        """
        use_case = intake.clean_text(use_case, "use_case", USE_CASE_CHARS_MAX)
        return await suggesting.suggestion(await self._parts(project), use_case)

    def providers(self) -> Mapping[str, Sequence[str]]:
        """The providers that `llm` and `embedder` of a configuration may name."""
        return providers()

    async def delete_project(self, project: str) -> None:
        """Delete a project with its memories, keys and members. Raises NotFoundError."""
        await projecting.delete(await self._parts(project))

    async def members(self, *, project: str | None = None) -> Sequence[Member]:
        """Who has a role in a project."""
        return await joining.listed(await self._parts(project))

    async def set_member(self, email: str, role: str, *, project: str | None = None) -> Member:
        """Give somebody a role, READER or OWNER, in place of an earlier one."""
        return await joining.put(await self._parts(project), email, role)

    async def remove_member(self, email: str, *, project: str | None = None) -> None:
        """Take somebody's role away. Raises NotFoundError."""
        await joining.remove(await self._parts(project), email)

    def _open_parts(self) -> Parts:
        return self._assembled().parts

    def _assembled(self) -> Assembly:
        assembly = self._memory._assembly
        if assembly is None:
            raise ClosedError("The deployment is not open.", hint="Enter it with `async with`.")
        return assembly

    async def _parts(self, project: str | None = None, fence: Fence = OPEN) -> Parts:
        home = project is None and fence.is_open
        memory = self._memory if home else self.memory(project, fence)
        return await memory._ready()


def _audited_whole(memory: AsyncMemory) -> AsyncMemory:
    """What reads as well leaves a row in the audit, unless something else is set."""
    resolved = memory._resolved
    if resolved.config.audit == "auto":
        memory._resolved = replace(resolved, config=replace(resolved.config, audit="all"))
    return memory


class _Elsewhere:
    """`engine.forget.Elsewhere` of a deployment."""

    def __init__(self, admin: AsyncAdmin) -> None:
        self._admin = admin

    async def clear_cache(self) -> None:
        await self._admin.clear_cache()

    async def drop_from_backups(self, project: str, entity: Entity) -> None:
        await self._admin.backups.drop_subject(project, entity)


def _permissions(names: Iterable[str]) -> tuple[Permission, ...]:
    names = [names] if isinstance(names, str) else list(names)
    found = granted(names)
    unknown = [name for name in names if not granted(name)]
    if unknown or not found:
        raise ValidationError(
            "permissions must be some of read, write, admin.",
            hint="Or one of the roles reader, writer, admin.",
        )
    return tuple(name for name in PERMISSIONS if name in found)


def _trust(trust: object, permissions: Iterable[str]) -> Trust | None:
    level = intake.clean_trust(trust)
    if level == "untrusted" and "admin" in _permissions(permissions):
        raise ValidationError(
            "A key that is not trusted cannot have the permission admin.",
            hint="It could approve what it added: give it read and write.",
        )
    return None if level == "trusted" else level


def _fence(
    users: Sequence[str] | None,
    agents: Sequence[str] | None,
    apps: Sequence[str] | None,
    runs: Sequence[str] | None,
) -> Fence:
    def ids(names: Sequence[str] | None, kind: str) -> tuple[str, ...] | None:
        if names is None:
            return None
        if isinstance(names, str):
            raise ValidationError(f"{kind} must be a list of ids.", hint=f'E.g. ["{names[:32]}"].')
        return tuple(dict.fromkeys(intake.clean_id(name, kind) for name in names))

    return Fence(
        users=ids(users, "users"),
        agents=ids(agents, "agents"),
        apps=ids(apps, "apps"),
        runs=ids(runs, "runs"),
    )
