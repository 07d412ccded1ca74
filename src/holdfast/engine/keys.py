"""API keys: made, listed, changed for new ones, revoked, and recognised."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Literal

from holdfast.core import keys
from holdfast.core.access import Principal
from holdfast.core.fence import OPEN, Fence
from holdfast.directory import PERMISSIONS, ApiKey, Permission, Where
from holdfast.engine.parts import Parts
from holdfast.engine.uses import Uses
from holdfast.errors import (
    AuthenticationError,
    ConflictError,
    NotFoundError,
    ValidationError,
)
from holdfast.model import Struct, Trust

_CACHED_MAX = 10_000


class NewKey(Struct, frozen=True, kw_only=True):
    """A key just made: `secret` is the whole key, and is told this once."""

    key: ApiKey
    secret: str

    def __repr__(self) -> str:
        return f"NewKey(key={self.key.id!r}, secret=***)"


class KeyRequest(Struct, frozen=True, kw_only=True):
    """A validated wish for a key."""

    label: str
    permissions: tuple[Permission, ...]
    fence: Fence
    expires_at: float | None = None
    account: str | None = None
    trust: Trust | None = None


async def create(parts: Parts, request: KeyRequest, id_: str | None = None) -> NewKey:
    """Make a key of this project. Raises ConflictError if there is one with this id."""
    id_ = id_ or secrets.token_hex(keys.ID_BYTES)
    secret = secrets.token_urlsafe(keys.SECRET_BYTES)
    fence = request.fence
    key = ApiKey(
        id=id_,
        project=parts.project,
        label=request.label,
        digest=keys.digest(secret),
        permissions=request.permissions,
        users=fence.users,
        agents=fence.agents,
        apps=fence.apps,
        runs=fence.runs,
        account=request.account,
        created_at=parts.clock.now(),
        expires_at=request.expires_at,
        trust=request.trust,
    )
    await parts.directory.insert(key)
    return NewKey(key=key, secret=keys.written(id_, secret))


async def listed(parts: Parts, *where: Where) -> Sequence[ApiKey]:
    """The keys of this project, revoked and expired ones too, the newest first."""
    return await parts.directory.select(
        ApiKey, Where("project", parts.project), *where, order="created_at", newest_first=True
    )


async def first(parts: Parts) -> NewKey | None:
    """A key that runs the deployment, if there is none yet.

    Its id is that of the next row: of two processes that start at once, one finds it taken.
    """
    known = await listed(parts)
    now = parts.clock.now()
    if any(_kind(key, parts) == "root" and _in_force(key, now) for key in known):
        return None
    request = KeyRequest(label="first key", permissions=PERMISSIONS, fence=OPEN)
    try:
        return await create(parts, request, f"{len(known) + 1:0{2 * keys.ID_BYTES}x}")
    except ConflictError:
        return None


async def rotate(parts: Parts, key_id: str, grace_s: float) -> NewKey:
    """A new key with the rights of an old one, which is good for `grace_s` seconds more.

    The new one expires when the old one was to; that the old one ends early is not passed on, so
    one that is changed again meanwhile gives a key as good as the first did.

    Raises NotFoundError; ValidationError for one that has expired, as the new one would have.
    """
    old, now = await _one(parts, key_id), parts.clock.now()
    if not _in_force(old, now):
        raise ValidationError(f"API key {key_id} has expired.", hint="Create a new one.")
    request = KeyRequest(
        label=old.label,
        permissions=old.permissions,
        fence=fence_of(old),
        expires_at=old.expires_at,
        account=old.account,
        trust=old.trust,
    )
    new = await create(parts, request)
    ends = now + grace_s
    if old.retires_at is None or ends < old.retires_at:
        await parts.directory.update(ApiKey, *_is(parts, key_id), values={"retires_at": ends})
    return new


async def revoke(parts: Parts, key_id: str) -> None:
    """Make a key useless from now on. Raises NotFoundError."""
    await _one(parts, key_id)
    now = parts.clock.now()
    await parts.directory.update(ApiKey, *_is(parts, key_id), values={"revoked_at": now})


def fence_of(key: ApiKey) -> Fence:
    """What a key is restricted to."""
    return Fence(users=key.users, agents=key.agents, apps=key.apps, runs=key.runs)


async def _one(parts: Parts, key_id: str) -> ApiKey:
    found = await parts.directory.select(ApiKey, *_is(parts, key_id))
    if not found or found[0].revoked_at is not None:
        raise NotFoundError(f"API key {key_id} not found.", hint="`keys` lists those there are.")
    return found[0]


def _is(parts: Parts, key_id: str) -> tuple[Where, Where]:
    return Where("id", key_id), Where("project", parts.project)


class Recogniser:
    """Recognises keys; what was looked up is remembered until the directory changes.

    A key that was revoked through any process is refused from the next call on.
    """

    def __init__(self, parts: Parts, admin_key: str) -> None:
        self._parts = parts
        self.uses = Uses(parts)
        self._admin_key = admin_key
        self._known: dict[str, ApiKey | None] = {}
        self._stamp = -1

    async def principal(self, key: str) -> Principal:
        """Whose key it is. Raises AuthenticationError, which does not tell what was wrong."""
        if self._admin_key and keys.same_text(key, self._admin_key):
            return root(self._parts.project)
        halves = keys.parsed(key)
        if halves is None:
            raise AuthenticationError("The API key is not valid.")
        found = await self._find(halves.id)
        now = self._parts.clock.now()
        good = keys.proves(halves.secret, None if found is None else found.digest)
        if found is None or not good or not _in_force(found, now):
            raise AuthenticationError("The API key is not valid.")
        self.uses.note(found, now)
        return Principal(
            id=found.id,
            kind=_kind(found, self._parts),
            project=found.project,
            permissions=frozenset(found.permissions),
            fence=fence_of(found),
            account=found.account,
            trust=found.trust or "trusted",
        )

    async def _find(self, key_id: str) -> ApiKey | None:
        stamp = await self._parts.directory.stamp()
        if stamp != self._stamp or len(self._known) >= _CACHED_MAX:
            self._known, self._stamp = {}, stamp
        if key_id not in self._known:
            found = await self._parts.directory.select(ApiKey, Where("id", key_id))
            if self._stamp != stamp:  # something changed while this was looked up
                return found[0] if found else None
            self._known[key_id] = found[0] if found else None
        return self._known[key_id]


def _in_force(key: ApiKey, now: float) -> bool:
    ended = key.ends_at is not None and key.ends_at <= now
    return key.revoked_at is None and not ended


def _kind(key: ApiKey, parts: Parts) -> Literal["root", "key"]:
    """An unrestricted admin key of the project that is there from the start runs the deployment."""
    runs = key.project == parts.home and "admin" in key.permissions and fence_of(key).is_open
    return "root" if runs else "key"


def root(project: str) -> Principal:
    """Whoever runs the deployment."""
    return Principal(
        id="root", kind="root", project=project, permissions=frozenset(("read", "write", "admin"))
    )
