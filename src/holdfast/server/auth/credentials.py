"""From a request's headers to a principal."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

import jwt
from starlette.requests import Request

from holdfast.admin import AsyncAdmin
from holdfast.core.access import Principal
from holdfast.core.keys import CREDENTIAL_CHARS_MAX
from holdfast.errors import AuthenticationError

Verify = Callable[[str], Awaitable[Principal]]
"""Whose token it is. Raises AuthenticationError."""


class Verifier(NamedTuple):
    """Who knows the tokens of an issuer."""

    issuer: str
    """What its tokens' claim `iss` says, to the letter."""
    verify: Verify


_SCHEMES = ("token", "bearer")


class Authenticator:
    """Knows keys, and, where they are set up, tokens of accounts and of an issuer."""

    def __init__(self, admin: AsyncAdmin, verifiers: Sequence[Verifier]) -> None:
        """`verifiers`: for what looks like a JWT; one for each issuer."""
        self._admin = admin
        self._verifiers = {each.issuer: each.verify for each in verifiers}

    async def principal(self, request: Request) -> Principal:
        """Who sent this request. Raises AuthenticationError."""
        config = self._admin.config
        credential = credential_of(request)
        if config.server.auth_disabled:
            return anyone(config.project)
        if credential is None:
            raise AuthenticationError(
                "No API key was sent.",
                hint="Send it as `Authorization: Token <key>`, as Bearer, or as X-API-Key.",
            )
        if len(credential) > CREDENTIAL_CHARS_MAX:
            raise AuthenticationError("The credential is not valid.")
        if credential.count(".") == 2:
            return await self._token(credential)
        return await self._admin.recognise(credential)

    async def _token(self, token: str) -> Principal:
        try:
            return await self._admin.recognise(token)  # an admin key may look like anything
        except AuthenticationError:
            issuer = _issuer_of(token)
            if issuer is None:
                raise
        verify = self._verifiers.get(issuer)
        if verify is None:
            raise AuthenticationError(
                "The token is of an issuer that is not known here.",
                hint="Its claim `iss` must be the setting server.oidc_issuer, to the letter.",
            )
        return await verify(token)


def _issuer_of(token: str) -> str | None:
    """Of which issuer a token says it is, unproven; None if it is no token."""
    try:
        issuer = jwt.decode(token, options={"verify_signature": False}).get("iss")
    except (jwt.PyJWTError, TypeError, ValueError):
        return None
    return issuer if isinstance(issuer, str) else ""


def credential_of(request: Request) -> str | None:
    """The key or token of a request, whichever way it is sent."""
    header = request.headers.get("authorization")
    if header is not None:
        scheme, _, credential = header.partition(" ")
        if scheme.lower() in _SCHEMES and credential.strip():
            return credential.strip()
        raise AuthenticationError("The Authorization header is not `Token <key>` or `Bearer ...`.")
    return request.headers.get("x-api-key")


def anyone(project: str) -> Principal:
    """Whoever calls, where authentication is switched off."""
    return Principal(
        id="anyone",
        kind="anyone",
        project=project,
        permissions=frozenset(("read", "write", "admin")),
    )
