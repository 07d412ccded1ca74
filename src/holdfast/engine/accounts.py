"""Accounts: people who sign in with a password, and the places where they are signed in.

A session is one row whose id is `<place>.<turn>`: the place stays, the turn changes with each use
of its refresh token, in one statement. A token of an earlier turn was used before: whoever shows
it again, its owner or a thief, the place is signed out.
"""

from __future__ import annotations

import asyncio
import secrets
import uuid
from collections.abc import Sequence
from typing import Literal

from holdfast.core import intake, passwords
from holdfast.core.access import Principal
from holdfast.directory import Account, ApiKey, Session, Where
from holdfast.engine import keys
from holdfast.engine.members import clean_email
from holdfast.engine.parts import Parts
from holdfast.errors import (
    AccessError,
    AuthenticationError,
    ConflictError,
    NotFoundError,
    ValidationError,
)
from holdfast.limits import PASSWORDS_AT_ONCE_MAX, REFRESH_TOKEN_S, SESSIONS_PER_ACCOUNT_MAX
from holdfast.model import Json, Struct

NAME_CHARS_MAX = 256
EMAIL_CHARS_MAX = 320
FIRST_ID = str(uuid.uuid5(uuid.NAMESPACE_URL, "holdfast:the-first-account"))
"""Id of the account that is registered first: of two that try at once, one finds it taken."""

_WRONG = "Invalid email or password."
_SPENT = "Refresh token is no longer valid."
_CACHED_MAX = 10_000
_PLACE_BYTES = 12

Role = Literal["admin", "user"]


class Wanted(Struct, frozen=True, kw_only=True):
    """A validated wish for an account."""

    email: str
    name: str
    password: str
    role: Role

    def __repr__(self) -> str:
        return f"Wanted(role={self.role!r})"


def wanted(email: object, name: object, password: object, role: object) -> Wanted:
    """Check what an account is to be made of. Raises ValidationError."""
    if role not in ("admin", "user"):
        raise ValidationError("role is unknown.", hint="Use admin or user.")
    return Wanted(
        email=clean_address(email),
        name=clean_name(name),
        password=passwords.clean_password(password),
        role=role,
    )


def clean_address(value: object) -> str:
    """An address in the form in which accounts are compared."""
    return clean_email(intake.clean_text(value, "email", EMAIL_CHARS_MAX))


def clean_name(value: object) -> str:
    """What a person is called."""
    return intake.clean_text(value, "name", NAME_CHARS_MAX).strip()


class Passwords:
    """Makes and compares digests beside the event loop, a few at once."""

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(PASSWORDS_AT_ONCE_MAX)

    async def kept(self, password: str) -> str:
        """What is stored of it."""
        salt = secrets.token_bytes(passwords.SALT_BYTES)
        async with self._places:
            return await asyncio.to_thread(passwords.kept, password, salt)

    async def proves(self, password: str, account: Account | None) -> bool:
        """Whether it is the account's; takes as long if there is no account."""
        stored = passwords.NOBODYS if account is None else account.password
        async with self._places:
            same = await asyncio.to_thread(passwords.proves, password, stored)
        return same and account is not None


# ------------------------------------------------------------------ accounts


async def needs_setup(parts: Parts) -> bool:
    """Whether nobody has an account yet."""
    return not await parts.directory.count(Account)


async def register(parts: Parts, digests: Passwords, want: Wanted) -> Account:
    """The first account. Raises AccessError once there is one."""
    closed = AccessError("Registration is closed. An admin account already exists.")
    if not await needs_setup(parts):
        raise closed
    try:
        return await _insert(parts, digests, want, FIRST_ID)
    except ConflictError:
        raise closed from None


async def create(parts: Parts, digests: Passwords, want: Wanted) -> Account:
    """An account for somebody else. Raises ConflictError for an address that has one."""
    return await _insert(parts, digests, want, str(uuid.uuid4()))


async def _insert(parts: Parts, digests: Passwords, want: Wanted, id_: str) -> Account:
    now = parts.clock.now()
    account = Account(
        id=id_,
        email=want.email,
        name=want.name,
        password=await digests.kept(want.password),
        role=want.role,
        created_at=now,
        updated_at=now,
    )
    try:
        await parts.directory.insert(account)
    except ConflictError:
        raise ConflictError("Email is already in use.", hint="Use another address.") from None
    return account


async def listed(parts: Parts) -> Sequence[Account]:
    """Every account, the oldest first."""
    return await parts.directory.select(Account, order="created_at")


async def find(parts: Parts, account_id: str) -> Account:
    """One account. Raises NotFoundError."""
    found = await parts.directory.select(Account, Where("id", account_id))
    if not found:
        raise NotFoundError("There is no such account.", hint="`accounts` lists those there are.")
    return found[0]


async def change(
    parts: Parts, account_id: str, *, name: str | None, email: str | None, onboarded: bool | None
) -> Account:
    """Set what is not None. Raises NotFoundError, ConflictError for an address that is taken."""
    given = {"name": name, "email": email, "onboarded": onboarded}
    values: dict[str, Json] = {k: value for k, value in given.items() if value is not None}
    if values:
        values["updated_at"] = parts.clock.now()
        try:
            await parts.directory.update(Account, Where("id", account_id), values=values)
        except ConflictError:
            raise ConflictError("Email is already in use.", hint="Use another address.") from None
    return await find(parts, account_id)


async def change_password(
    parts: Parts, digests: Passwords, account_id: str, *, old: str, new: str, place: str | None
) -> None:
    """Set another password and sign out everywhere but at `place`.

    Raises AuthenticationError if the old one is wrong, also where it was changed meanwhile.
    """
    account = await find(parts, account_id)
    wrong = AuthenticationError("Current password is incorrect.")
    if not await digests.proves(old, account):
        raise wrong
    mine = (Where("id", account_id), Where("password", account.password))
    values = {"password": await digests.kept(new), "updated_at": parts.clock.now()}
    if not await parts.directory.update(Account, *mine, values=values):
        raise wrong
    await sign_out(parts, account_id, keep=place)


async def remove(parts: Parts, account_id: str) -> None:
    """Delete an account with its sessions and keys. Raises NotFoundError."""
    await find(parts, account_id)
    await parts.directory.delete(Account, Where("id", account_id))
    await parts.directory.delete(Session, Where("account", account_id))
    await parts.directory.delete(ApiKey, Where("account", account_id))


# ------------------------------------------------------------------ sessions


async def sign_in(parts: Parts, digests: Passwords, email: str, password: str) -> Session:
    """A new session of whoever has this address and password.

    Raises AuthenticationError, ValidationError for what is no address.
    """
    found = await parts.directory.select(Account, Where("email", clean_address(email)))
    account = found[0] if found else None
    good = await digests.proves(password, account)
    if account is None or not good:
        raise AuthenticationError(_WRONG, hint="Check both.")
    return await start(parts, account.id)


async def start(parts: Parts, account_id: str) -> Session:
    """A new session of an account; expired ones go, and the oldest beyond the limit."""
    now = parts.clock.now()
    await parts.directory.delete(Session, Where("expires_at", now, "lte"))
    mine = Where("account", account_id)
    others = await parts.directory.select(Session, mine, order="created_at", newest_first=True)
    for old in others[SESSIONS_PER_ACCOUNT_MAX - 1 :]:
        await _end(parts, account_id, place_of(old.id))
    session = Session(
        id=_turned(secrets.token_hex(_PLACE_BYTES)),
        account=account_id,
        created_at=now,
        expires_at=now + REFRESH_TOKEN_S,
    )
    await parts.directory.insert(session)
    return session


async def turn(parts: Parts, account_id: str, session_id: str) -> Session:
    """The next turn of a session, whose token is used up by this.

    Raises AuthenticationError; if it was used before, its place is signed out.
    """
    now = parts.clock.now()
    next_id = _turned(place_of(session_id))
    values = {"id": next_id, "expires_at": now + REFRESH_TOKEN_S}
    this = (
        Where("id", session_id),
        Where("account", account_id),
        Where("expires_at", now, "gt"),
    )
    if not await parts.directory.update(Session, *this, values=values):
        await _end(parts, account_id, place_of(session_id))
        raise AuthenticationError(_SPENT, hint="Sign in again.")
    return Session(id=next_id, account=account_id, created_at=now, expires_at=now + REFRESH_TOKEN_S)


async def sign_out(parts: Parts, account_id: str, *, keep: str | None = None) -> None:
    """End the sessions of an account, but for the one at the place `keep`."""
    for session in await parts.directory.select(Session, Where("account", account_id)):
        if place_of(session.id) != keep:
            await _end(parts, account_id, place_of(session.id))


async def _end(parts: Parts, account_id: str, place: str) -> None:
    """End the session at a place, even while somebody goes on turning it."""
    while True:
        sessions = await parts.directory.select(Session, Where("account", account_id))
        here = [session.id for session in sessions if place_of(session.id) == place]
        if not here:
            return
        await parts.directory.delete(Session, Where("id", tuple(here), "in"))


def place_of(session_id: str) -> str:
    """The part of a session's id that stays."""
    return session_id.partition(".")[0]


def _turned(place: str) -> str:
    return f"{place}.{secrets.token_hex(_PLACE_BYTES)}"


class SignedIn:
    """Knows who is signed in where; what was looked up is remembered until the directory changes.

    Whoever was signed out through any process is refused from the next call on.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._known: dict[str, tuple[Account, frozenset[str]] | None] = {}
        self._stamp = -1

    async def principal(self, account_id: str, place: str) -> Principal:
        """Who is signed in at a place. Raises AuthenticationError."""
        found = await self._find(account_id)
        if found is None or place not in found[1]:
            raise AuthenticationError("The token is not valid.", hint="Sign in again.")
        return principal_of(found[0], self._parts.home)

    async def _find(self, account_id: str) -> tuple[Account, frozenset[str]] | None:
        directory = self._parts.directory
        stamp = await directory.stamp()
        if stamp != self._stamp or len(self._known) >= _CACHED_MAX:
            self._known, self._stamp = {}, stamp
        if account_id in self._known:
            return self._known[account_id]
        accounts = await directory.select(Account, Where("id", account_id))
        sessions = await directory.select(Session, Where("account", account_id))
        places = frozenset(place_of(session.id) for session in sessions)
        found = (accounts[0], places) if accounts else None
        if self._stamp == stamp:  # else something changed while this was looked up
            self._known[account_id] = found
        return found


def principal_of(account: Account, home: str) -> Principal:
    """What an account may do: an administrator runs the deployment, as an admin key does."""
    admin = account.role == "admin"
    return Principal(
        id=account.id,
        kind="root" if admin else "account",
        project=home,
        permissions=frozenset(("read", "write", "admin") if admin else ("read", "write")),
        account=account.id,
    )


# ------------------------------------------------------------------ keys of accounts


async def own_keys(parts: Parts, account_id: str | None) -> Sequence[ApiKey]:
    """Keys that an account made for itself and that are not revoked, the newest first."""
    mine = Where("account", account_id)
    return [key for key in await keys.listed(parts, mine) if key.revoked_at is None]


async def revoke_own(parts: Parts, account_id: str | None, key_id: str) -> None:
    """Refuse a key of an account. Raises NotFoundError; ValidationError if it was revoked."""
    mine = Where("account", account_id)
    found = [key for key in await keys.listed(parts, mine) if key.id == key_id]
    if not found:
        raise NotFoundError("API key not found.")
    if found[0].revoked_at is not None:
        raise ValidationError("API key is already revoked.")
    await keys.revoke(parts, key_id)
