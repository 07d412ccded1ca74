"""Tokens of accounts: an access token for half an hour, a refresh token for one use."""

from __future__ import annotations

import time
from typing import Any, Literal

import jwt

from holdfast.admin import AsyncAdmin
from holdfast.admin.accounts import place_of
from holdfast.core.access import Principal
from holdfast.directory import Account, Session
from holdfast.errors import AuthenticationError
from holdfast.limits import ACCESS_TOKEN_S
from holdfast.model import Struct
from holdfast.server.auth.credentials import Verifier

ALGORITHM = "HS256"
ISSUER = "holdfast"

_CLAIMS = ["exp", "iat", "iss", "sub", "sid", "type"]

Type = Literal["access", "refresh"]


class Claims(Struct, frozen=True):
    """What a token says."""

    account: str
    session: str
    """Its place in an access token, place and turn in a refresh token."""


class Tokens:
    """Signs and reads them."""

    def __init__(self, key: bytes) -> None:
        """`key`: 32 bytes that nobody else has."""
        self._key = key

    def pair(self, account: Account, session: Session) -> dict[str, Any]:
        """The tokens of a session, in the form of Mem0's answer."""
        now = time.time()
        access = {"sid": place_of(session), "exp": now + ACCESS_TOKEN_S, "role": account.role}
        refresh = {"sid": session.id, "exp": session.expires_at}
        return {
            "access_token": self._signed("access", account.id, now, access),
            "refresh_token": self._signed("refresh", account.id, now, refresh),
            "token_type": "bearer",
            "expires_in": ACCESS_TOKEN_S,
        }

    def _signed(self, kind: Type, account: str, now: float, more: dict[str, Any]) -> str:
        claims = {"iss": ISSUER, "sub": account, "type": kind, "iat": int(now), **more}
        return jwt.encode({**claims, "exp": int(more["exp"])}, self._key, ALGORITHM)

    def read(self, token: str, kind: Type) -> Claims:
        """What a good token of this kind says. Raises AuthenticationError."""
        try:
            claims = jwt.decode(
                token,
                self._key,
                algorithms=[ALGORITHM],
                issuer=ISSUER,
                options={"require": _CLAIMS},
            )
        except jwt.PyJWTError:
            raise AuthenticationError("Invalid or expired token.", hint="Sign in again.") from None
        if claims["type"] != kind or not isinstance(claims["sid"], str):
            raise AuthenticationError("Invalid token type.", hint=f"Send the {kind} token.")
        return Claims(claims["sub"], claims["sid"])


def account_verifier(admin: AsyncAdmin, tokens: Tokens) -> Verifier:
    """Knows access tokens of accounts that are still signed in."""

    async def verify(token: str) -> Principal:
        claims = tokens.read(token, "access")
        return await admin.accounts.principal(claims.account, claims.session)

    return Verifier(ISSUER, verify)
