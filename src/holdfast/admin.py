"""The public face of a whole deployment: its projects, their keys and members, and their memories.

`AsyncMemory` is one project's memory; `AsyncAdmin` is what the server and the commands that run a
deployment work with. It opens the same store.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, get_args

from holdfast import limits
from holdfast.client import AsyncMemory
from holdfast.config import Config
from holdfast.core import intake
from holdfast.core.access import Principal, granted
from holdfast.core.exports import clean_schema
from holdfast.core.fence import OPEN, Fence
from holdfast.core.prompt import INSTRUCTIONS_CHARS_MAX
from holdfast.core.webhooks import clean_event_types, clean_url
from holdfast.directory import (
    PERMISSIONS,
    ApiKey,
    Delivery,
    DeliveryState,
    Export,
    Feedback,
    Member,
    Permission,
    ProjectInfo,
    Webhook,
)
from holdfast.engine import add as adding
from holdfast.engine import deliveries as delivering
from holdfast.engine import exports as exporting
from holdfast.engine import feedback as opining
from holdfast.engine import keys as keying
from holdfast.engine import members as joining
from holdfast.engine import projects as projecting
from holdfast.engine import webhooks as hooking
from holdfast.engine.exports import ExportRequest
from holdfast.engine.keys import KeyRequest, NewKey, Recogniser
from holdfast.engine.parts import Parts
from holdfast.engine.webhooks import WebhookRequest
from holdfast.errors import ValidationError
from holdfast.model import Json
from holdfast.registry import make_sender

When = Any
"""A time: ISO 8601 text, datetime, date, or Unix seconds."""

_VIEWS_MAX = 4_096


class AsyncAdmin:
    """Projects, keys, members and memories of one deployment; opens with `async with`.

    Where a method takes `project`, None means the project of the configuration.
    """

    def __init__(self, config: Config | Mapping[str, Json] | str | Path | None = None) -> None:
        """`config`: as for `AsyncMemory`. Raises ConfigError."""
        self._memory = AsyncMemory(config)
        self._views: dict[tuple[str, Fence], AsyncMemory] = {}
        self._recogniser: Recogniser | None = None

    @property
    def config(self) -> Config:
        """The settings in force."""
        return self._memory._resolved.config

    async def open(self) -> None:
        """Open the store, load the models, start the workers. Idempotent; raises StoreError."""
        await self._memory.open()
        self._recogniser = Recogniser(await self._parts(), self.config.server.admin_key)

    async def aclose(self) -> None:
        """Stop the workers, close the store. Idempotent."""
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

    def memory(self, project: str | None = None, fence: Fence = OPEN) -> AsyncMemory:
        """The memory of a project, or what of it is inside a fence; the deployment stays open when
        it is closed. Whether there is such a project is not looked up."""
        place = (project or self.config.project, fence)
        view = self._views.get(place)
        if view is None:
            if len(self._views) >= _VIEWS_MAX:
                self._views.clear()
            view = self._views[place] = self._memory._within(*place)
        return view

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
    ) -> NewKey:
        """Make a key; its secret is told in the answer and never again.

        Args:
            permissions: any of read, write, admin, or a role: reader, writer, admin.
            users, agents, apps, runs: the only ones whose memories it may touch, if given.
            expires_at: from when on it is refused.

        Raises:
            ValidationError; NotFoundError for an unknown project.
        """
        parts = await self._parts(project)
        await projecting.find(parts, parts.project)
        request = KeyRequest(
            label=intake.clean_text(label, "label", 256) if label else "",
            permissions=_permissions(permissions),
            fence=_fence(users, agents, apps, runs),
            expires_at=intake.moment(expires_at, "expires_at"),
            account=account,
        )
        return await keying.create(parts, request)

    async def keys(self, *, project: str | None = None) -> Sequence[ApiKey]:
        """The keys of a project, revoked and expired ones too, the newest first."""
        return await keying.listed(await self._parts(project))

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
        name = intake.clean_text(name, "name", 256)
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
        """Set its name, description, or any of `core.project_settings.NAMES`; None clears.

        Raises NotFoundError, ValidationError.
        """
        return await projecting.update(await self._parts(project), values)

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

    # ------------------------------------------------------------------ webhooks

    async def create_webhook(
        self, name: str, url: str, event_types: Sequence[str], *, project: str | None = None
    ) -> Webhook:
        """Have an address told of what happens in a project from now on.

        `event_types`: some of `core.webhooks.EVENT_TYPES`. The answer tells the secret that
        messages are signed with. Raises ValidationError, ConflictError for one too many.
        """
        request = self._webhook_request(name, url, event_types, None)
        assert request.name
        assert request.url
        assert request.event_types
        return await hooking.create(
            await self._parts(project), request.name, request.url, request.event_types
        )

    async def webhooks(self, *, project: str | None = None) -> Sequence[Webhook]:
        """The webhooks of a project, the oldest first."""
        return await hooking.listed(await self._parts(project))

    async def update_webhook(
        self,
        webhook_id: str,
        *,
        name: str | None = None,
        url: str | None = None,
        event_types: Sequence[str] | None = None,
        is_active: bool | None = None,
        project: str | None = None,
    ) -> Webhook:
        """Change a webhook; None leaves something as it is. Raises NotFoundError, ValidationError.

        One that is switched off is told of nothing that happens meanwhile.
        """
        request = self._webhook_request(name, url, event_types, is_active)
        return await hooking.update(await self._parts(project), webhook_id, request)

    async def delete_webhook(self, webhook_id: str, *, project: str | None = None) -> None:
        """Delete a webhook and what waits to be sent to it. Raises NotFoundError."""
        await hooking.delete(await self._parts(project), webhook_id)

    async def deliveries(
        self,
        webhook_id: str,
        *,
        state: DeliveryState | None = None,
        page: int = 1,
        page_size: int = 100,
        project: str | None = None,
    ) -> Sequence[Delivery]:
        """What was, is or will be sent to a webhook, of one state or all, the newest first."""
        if state is not None and state not in get_args(DeliveryState):
            raise ValidationError(
                "state is unknown.", hint=f"Use {', '.join(get_args(DeliveryState))}."
            )
        size = intake.clean_count(page_size, "page_size", limits.PAGE_SIZE_MAX)
        offset = (intake.clean_count(page, "page", 2**31) - 1) * size
        return await hooking.deliveries(await self._parts(project), webhook_id, state, offset, size)

    async def rerun_delivery(
        self, webhook_id: str, delivery_id: str, *, project: str | None = None
    ) -> None:
        """Send a dead-lettered message again. Raises NotFoundError, ConflictError."""
        await hooking.rerun(await self._parts(project), webhook_id, delivery_id)

    async def serve_webhooks(self) -> None:
        """Tell the webhooks of all projects what happens, until cancelled.

        Any number of processes may do so at once. Raises MissingExtraError.
        """
        parts = await self._parts()
        sender = make_sender(self.config.server.webhook_private)
        try:
            await delivering.serve(parts, sender)
        finally:
            await sender.close()

    # ------------------------------------------------------------------ what memories are made into

    async def create_export(
        self,
        schema: Mapping[str, Json] | str,
        filters: Mapping[str, Json],
        *,
        instructions: str | None = None,
        project: str | None = None,
    ) -> str:
        """Have the memories that match put into a form of one's own; the export's id.

        A configured language model fills in the form, in a job with the same id; else memories are
        listed where the form has lists. Raises ValidationError, FilterError, TooLargeError.
        """
        request = ExportRequest(
            schema=clean_schema(schema),
            filters=filters,
            instructions=None
            if not instructions
            else intake.clean_text(instructions, "export_instructions", INSTRUCTIONS_CHARS_MAX),
        )
        return (await exporting.create(await self._parts(project), request)).id

    async def export(
        self,
        export_id: str | None = None,
        *,
        filters: Mapping[str, Json] | None = None,
        wait_s: float = 0.0,
        project: str | None = None,
    ) -> Export:
        """An export by its id, or the newest with these filters.

        Waits so long for one that is being made. Raises NotFoundError; ValidationError for neither.
        """
        parts = await self._parts(project)
        if export_id is None and not filters:
            raise ValidationError(
                "Neither memory_export_id nor filters is given.", hint="Give one of them."
            )
        if export_id is not None:
            export = await exporting.find(parts, intake.clean_id(export_id, "memory_export_id"))
        else:
            export = await exporting.newest(parts, filters or {})
        if export.state == "PENDING":
            job = await adding.wait_for(parts, export.id, wait_s)
            export = exporting.with_job(await exporting.find(parts, export.id), job)
        return export

    async def summary(
        self,
        filters: Mapping[str, Json],
        *,
        project: str | None = None,
        fence: Fence = OPEN,
    ) -> list[dict[str, Json]]:
        """`[{"summary", "total_memories", "made_by"}]` of the memories that match; [] if none do.

        made_by: "model", or "digest" (the newest memories, word for word) without one. Raises
        FilterError, TooLargeError, ModelError.
        """
        parts = await self._parts(project or self.config.project, fence)
        return await exporting.summarise(parts, filters)

    async def give_feedback(
        self,
        memory_id: str,
        feedback: str | None,
        reason: str | None = None,
        *,
        project: str | None = None,
        fence: Fence = OPEN,
    ) -> Feedback:
        """Say what is thought of a memory: POSITIVE, NEGATIVE, VERY_NEGATIVE; None: nothing.

        Takes the place of an earlier opinion. Raises NotFoundError, ValidationError.
        """
        if feedback is not None and feedback not in opining.VALUES:
            raise ValidationError(
                "feedback is unknown.", hint=f"Use {', '.join(opining.VALUES)} or null."
            )
        if reason is not None and reason != "":
            reason = intake.clean_text(reason, "feedback_reason", limits.FEEDBACK_CHARS_MAX)
        memory_id = intake.clean_memory_id(memory_id)
        parts = await self._parts(project or self.config.project, fence)
        return await opining.give(parts, memory_id, feedback, reason)

    def _webhook_request(
        self,
        name: str | None,
        url: str | None,
        event_types: Sequence[str] | None,
        is_active: bool | None,
    ) -> WebhookRequest:
        private = self.config.server.webhook_private
        return WebhookRequest(
            name=None if name is None else intake.clean_text(name, "name", 256),
            url=None if url is None else clean_url(url, private=private),
            event_types=None if event_types is None else clean_event_types(event_types),
            is_active=None if is_active is None else intake.clean_flag(is_active, "is_active"),
        )

    async def _parts(self, project: str | None = None, fence: Fence = OPEN) -> Parts:
        memory = self._memory if project is None else self.memory(project, fence)
        return await memory._ready()


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
