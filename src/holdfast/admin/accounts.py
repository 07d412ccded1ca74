"""The public face of a deployment's accounts: who signs in with a password, and where."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from holdfast.core import passwords, verbs
from holdfast.core.access import Principal
from holdfast.directory import Account, ApiKey, Session
from holdfast.engine import accounts as engine
from holdfast.engine.accounts import Passwords, SignedIn
from holdfast.engine.auditing import audited
from holdfast.engine.parts import Parts


@audited(verbs.ACCOUNTS, "accounts.")
class Accounts:
    """The accounts of a deployment, all of its home project; `AsyncAdmin.accounts` gives it."""

    def __init__(self, parts: Callable[[], Awaitable[Parts]]) -> None:
        """`parts`: gives those of the home project, opened."""
        self._parts = parts
        self._passwords = Passwords()
        self._signed_in: SignedIn | None = None

    async def needs_setup(self) -> bool:
        """Whether nobody has an account yet, so that `register` is open."""
        return await engine.needs_setup(await self._parts())

    async def register(self, email: str, name: str, password: str) -> Account:
        """Make the first account, an administrator's.

        Raises ValidationError; AccessError once there is an account.
        """
        want = engine.wanted(email, name, password, "admin")
        return await engine.register(await self._parts(), self._passwords, want)

    async def create(self, email: str, name: str, password: str, *, role: str = "user") -> Account:
        """Make an account for somebody: "user" reads and writes, "admin" does everything.

        Raises ValidationError, ConflictError for an address that has an account.
        """
        want = engine.wanted(email, name, password, role)
        return await engine.create(await self._parts(), self._passwords, want)

    async def all(self) -> Sequence[Account]:
        """Every account, the oldest first."""
        return await engine.listed(await self._parts())

    async def get(self, account_id: str) -> Account:
        """One account. Raises NotFoundError."""
        return await engine.find(await self._parts(), account_id)

    async def update(
        self,
        account_id: str,
        *,
        name: str | None = None,
        email: str | None = None,
        onboarded: bool | None = None,
    ) -> Account:
        """Set what is given. Raises NotFoundError, ValidationError, ConflictError."""
        return await engine.change(
            await self._parts(),
            account_id,
            name=None if name is None else engine.clean_name(name),
            email=None if email is None else engine.clean_address(email),
            onboarded=onboarded,
        )

    async def change_password(
        self, account_id: str, *, current: str, new: str, place: str | None = None
    ) -> None:
        """Set another password and sign out everywhere but at `place`.

        Raises AuthenticationError if `current` is wrong, ValidationError, NotFoundError.
        """
        new = passwords.clean_password(new)
        await engine.change_password(
            await self._parts(), self._passwords, account_id, old=current, new=new, place=place
        )

    async def delete(self, account_id: str) -> None:
        """Delete an account with its sessions and its keys. Raises NotFoundError."""
        await engine.remove(await self._parts(), account_id)

    # ------------------------------------------------------------------ sessions

    async def sign_in(self, email: str, password: str) -> Session:
        """A new session. Raises AuthenticationError, which does not tell what was wrong."""
        return await engine.sign_in(await self._parts(), self._passwords, email, password)

    async def start(self, account_id: str) -> Session:
        """A new session of an account, without a password."""
        return await engine.start(await self._parts(), account_id)

    async def turn(self, account_id: str, session_id: str) -> Session:
        """The next turn of a session; this one is used up.

        Raises AuthenticationError; if it was used up before, the session is ended.
        """
        return await engine.turn(await self._parts(), account_id, session_id)

    async def principal(self, account_id: str, place: str) -> Principal:
        """Who is signed in at a place. Raises AuthenticationError once signed out."""
        if self._signed_in is None:
            self._signed_in = SignedIn(await self._parts())
        return await self._signed_in.principal(account_id, place)

    # ------------------------------------------------------------------ keys of their own

    async def keys(self, account_id: str | None) -> Sequence[ApiKey]:
        """The keys an account made for itself, without revoked ones; None: nobody's."""
        return await engine.own_keys(await self._parts(), account_id)

    async def revoke_key(self, account_id: str | None, key_id: str) -> None:
        """Refuse a key of an account's own. Raises NotFoundError, ValidationError."""
        await engine.revoke_own(await self._parts(), account_id, key_id)


def place_of(session: Session) -> str:
    """What stays the same in the turns of a session."""
    return engine.place_of(session.id)
