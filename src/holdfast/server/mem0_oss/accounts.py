"""The routes of Mem0's open-source server for signing in, and for keys."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request
from pydantic import Field

from holdfast.clock import iso
from holdfast.directory import Account, ApiKey, Session
from holdfast.errors import AccessError, AuthenticationError, NotFoundError
from holdfast.limits import (
    PASSWORD_CHARS_MAX,
    REFRESHES_PER_MINUTE_MAX,
    SIGN_INS_PER_MINUTE_MAX,
    SIGN_UPS_PER_MINUTE_MAX,
)
from holdfast.model import Json
from holdfast.server.auth.credentials import credential_of
from holdfast.server.bodies import Body, Done
from holdfast.server.context import Context, address_of, allow, counted
from holdfast.server.deployment import Deployment
from holdfast.server.mem0_oss.shapes import OwnKey, OwnKeyMade, Person, Setup, TokenPair
from holdfast.server.reply import Reply
from holdfast.server.routing import Routes

route = Routes("Mem0 open source: accounts")
router = route.router

SETUP_LOOKS_PER_MINUTE_MAX = 600
"""Looks at whether there is an account, a minute from one address."""

_TOKEN_CHARS_MAX = 8_192

Email = Annotated[
    str,
    Field(pattern=r"^[^@\s]{1,64}@[^@\s]{1,255}$", max_length=320, examples=["ann@example.com"]),
]
Password = Annotated[str, Field(max_length=PASSWORD_CHARS_MAX, examples=["correct horse battery"])]
Name = Annotated[str, Field(min_length=1, max_length=256, examples=["Ann"])]


class RegisterBody(Body):
    """The first administrator."""

    name: Name
    email: Email
    password: Password


class LoginBody(Body):
    """Who signs in."""

    email: Email
    password: Password


class RefreshBody(Body):
    """A refresh token that was not used yet."""

    refresh_token: Annotated[str, Field(max_length=_TOKEN_CHARS_MAX)]


class ProfileBody(Body):
    """What is to change of oneself."""

    name: Annotated[str | None, Field(max_length=256)] = None
    email: Email | None = None


class PasswordBody(Body):
    """The password, and the one to set in its place."""

    current_password: Password
    new_password: Password


class OssKeyBody(Body):
    """What a key is called."""

    label: Annotated[str, Field(max_length=256, examples=["laptop"])]


# ------------------------------------------------------------------ signing in


@route(
    "GET",
    "/auth/setup-status",
    summary="Whether an administrator is to be registered",
    response_model=Setup,
)
async def setup_status(
    deployment: Annotated[Deployment, Depends(counted("setup", SETUP_LOOKS_PER_MINUTE_MAX))],
) -> Reply:
    """Whether `register` is open."""
    return Reply({"needsSetup": await deployment.admin.accounts.needs_setup()})


@route(
    "POST", "/auth/register", summary="Register the first administrator", response_model=TokenPair
)
async def register(
    body: RegisterBody,
    deployment: Annotated[Deployment, Depends(counted("register", SIGN_UPS_PER_MINUTE_MAX))],
) -> Reply:
    """Make the first account; closed once there is one."""
    accounts = deployment.admin.accounts
    account = await accounts.register(body.email, body.name, body.password)
    return Reply(deployment.tokens.pair(account, await accounts.start(account.id)))


@route("POST", "/auth/login", summary="Sign in", response_model=TokenPair)
async def login(
    body: LoginBody,
    deployment: Annotated[Deployment, Depends(counted("login", SIGN_INS_PER_MINUTE_MAX))],
) -> Reply:
    """Tokens for an address and a password."""
    session = await deployment.admin.accounts.sign_in(body.email, body.password)
    return await _pair(deployment, session)


@route("POST", "/auth/refresh", summary="Get new tokens", response_model=TokenPair)
async def refresh(
    body: RefreshBody,
    deployment: Annotated[Deployment, Depends(counted("refresh", REFRESHES_PER_MINUTE_MAX))],
) -> Reply:
    """Tokens for a refresh token, which is used up; used again, it signs its place out."""
    claims = deployment.tokens.read(body.refresh_token, "refresh")
    session = await deployment.admin.accounts.turn(claims.account, claims.session)
    return await _pair(deployment, session)


async def _pair(deployment: Deployment, session: Session) -> Reply:
    try:
        account = await deployment.admin.accounts.get(session.account)
    except NotFoundError:  # deleted meanwhile
        raise AuthenticationError("User not found.") from None
    return Reply(deployment.tokens.pair(account, session))


# ------------------------------------------------------------------ oneself


@route("GET", "/auth/me", summary="Who am I", response_model=Person)
async def me(context: Annotated[Context, Depends(allow("account"))]) -> Reply:
    """The account behind a token or key; for the admin key, the oldest."""
    return Reply(_person(await _account(context)))


@route("PATCH", "/auth/me", summary="Change name or address", response_model=Person)
async def update_me(
    body: ProfileBody, context: Annotated[Context, Depends(allow("change_account"))]
) -> Reply:
    """Set what is given; a blank name is none."""
    account = await _account(context)
    changed = await context.admin.accounts.update(
        account.id, name=(body.name or "").strip() or None, email=body.email
    )
    return Reply(_person(changed))


@route("POST", "/auth/change-password", summary="Change the password", response_model=Done)
async def change_password(
    body: PasswordBody,
    request: Request,
    context: Annotated[Context, Depends(allow("change_account"))],
) -> Reply:
    """Set another password; everywhere else one is signed out."""
    limiter = context.deployment.limiter
    await limiter.count_address(address_of(request), "password", SIGN_INS_PER_MINUTE_MAX)
    account = await _account(context)
    await context.admin.accounts.change_password(
        account.id,
        current=body.current_password,
        new=body.new_password,
        place=_place(request, context),
    )
    return Reply({"message": "Password updated."})


@route(
    "POST", "/auth/onboarding-complete", summary="Note that the wizard is done", response_model=Done
)
async def onboarding_complete(
    context: Annotated[Context, Depends(allow("change_account"))],
) -> Reply:
    """Note it of the account. What Mem0 reports to its maker with it is told to nobody here."""
    account = await _account(context)
    await context.admin.accounts.update(account.id, onboarded=True)
    return Reply({"message": "Onboarding completed."})


# ------------------------------------------------------------------ one's own keys


@route("GET", "/api-keys", summary="List one's keys", response_model=list[OwnKey])
async def keys(context: Annotated[Context, Depends(allow("own_keys"))]) -> Reply:
    """The keys of one's account that are not revoked, the newest first."""
    found = await context.admin.accounts.keys(await _owner(context))
    uses = await context.admin.key_uses(found)
    return Reply([_key(key) | {"last_used_at": iso(uses.get(key.id))} for key in found])


@route("POST", "/api-keys", summary="Make a key", status_code=201, response_model=OwnKeyMade)
async def create_key(
    body: OssKeyBody, context: Annotated[Context, Depends(allow("change_own_keys"))]
) -> Reply:
    """A key that may do what its maker may; it is told this once."""
    made = await context.admin.create_key(
        project=context.project,
        label=body.label.strip(),
        permissions=sorted(context.principal.permissions),
        account=await _owner(context),
    )
    return Reply(_key(made.key) | {"key": made.secret}, 201)


@route("DELETE", "/api-keys/{key_id}", summary="Revoke a key", response_model=Done)
async def revoke_key(
    key_id: str, context: Annotated[Context, Depends(allow("change_own_keys"))]
) -> Reply:
    """Refuse one of one's keys from now on."""
    await context.admin.accounts.revoke_key(await _owner(context), key_id)
    return Reply({"message": "API key revoked."})


async def _account(context: Context) -> Account:
    """The account behind the call; the deployment's administrator stands for the oldest."""
    owner = await _owner(context)
    if owner is None:
        raise AuthenticationError(
            "Authentication required.", hint="There is no account yet: register one, and sign in."
        )
    return await context.admin.accounts.get(owner)


async def _owner(context: Context) -> str | None:
    """The id of the account behind the call; None for an administrator where there is none."""
    principal = context.principal
    if principal.account is not None:
        return principal.account
    if not principal.is_root:
        raise AccessError("This credential belongs to no account.", hint="Sign in.")
    everybody = await context.admin.accounts.all()
    return everybody[0].id if everybody else None


def _place(request: Request, context: Context) -> str | None:
    """Where the caller is signed in; None if the call came with a key."""
    if context.principal.account != context.principal.id:
        return None
    token = credential_of(request) or ""
    return context.deployment.tokens.read(token, "access").session


def _person(account: Account) -> dict[str, Json]:
    return {
        "id": account.id,
        "name": account.name,
        "email": account.email,
        "role": account.role,
        "onboarded": account.onboarded,
        "created_at": iso(account.created_at),
    }


def _key(key: ApiKey) -> dict[str, Json]:
    return {
        "id": key.id,
        "label": key.label,
        "key_prefix": f"hf-{key.id}",
        "created_at": iso(key.created_at),
    }
