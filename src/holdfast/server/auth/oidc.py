"""Tokens of an OpenID Connect issuer: checked without compromise, and read as a principal.

What a token does not grant it has not: one without permissions may do nothing, one that names an
unknown project reaches none, and one whose users are no list of ids sees nobody.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

import jwt

from holdfast.admin import AsyncAdmin
from holdfast.config import ServerConfig
from holdfast.core import intake
from holdfast.core.access import Principal, granted
from holdfast.core.fence import OPEN, Fence
from holdfast.errors import (
    AccessError,
    AuthenticationError,
    ConfigError,
    NotFoundError,
    ValidationError,
)
from holdfast.server.auth.credentials import Verifier
from holdfast.server.auth.oidc_keys import ALGORITHMS, IssuerKeys, is_safe

LEEWAY_S: Final = 30
"""Seconds by which the clocks of issuer and server may differ."""

USERS_MAX: Final = 1_000
"""Users one token may be for."""

_CLAIMS: Final = ["exp", "iss", "aud", "sub"]
_INVALID: Final = "The token is not valid."
_REFUSALS: Final[Mapping[type[Exception], tuple[str, str]]] = {
    jwt.ExpiredSignatureError: ("The token has expired.", "Get a new one."),
    jwt.ImmatureSignatureError: (
        "The token is not good yet.",
        "Its claim `nbf` or `iat` is ahead: compare the clocks of issuer and server.",
    ),
    jwt.InvalidAudienceError: (
        "The token is for another audience.",
        "Its claim `aud` must be, or list, the setting server.oidc_audience.",
    ),
    jwt.InvalidSignatureError: (
        "The signature of the token does not fit its key.",
        "Get a new one.",
    ),
}


def issuer_verifier(admin: AsyncAdmin) -> Verifier | None:
    """Knows the tokens of the configured issuer; None if none is.

    Raises ConfigError for settings that would let others in.
    """
    config = admin.config.server
    if not config.oidc_issuer:
        return None
    check(config)
    keys = IssuerKeys(config.oidc_issuer, config.oidc_jwks_url)

    async def verify(token: str) -> Principal:
        claims = await verified(token, config, keys)
        return await principal_of(claims, admin)

    return Verifier(config.oidc_issuer, verify)


def check(config: ServerConfig) -> None:
    """Refuse an issuer anybody could stand in for, or whose every token would be taken."""
    if not config.oidc_audience:
        raise ConfigError(
            "server.oidc_audience is empty.",
            hint="Name the audience of this server's tokens: others of the issuer are not for it.",
        )
    for name in ("oidc_issuer", "oidc_jwks_url"):
        url = getattr(config, name)
        if url and not is_safe(url):
            raise ConfigError(f"server.{name} is no https:// address.", hint="Use https.")


async def verified(token: str, config: ServerConfig, keys: IssuerKeys) -> Mapping[str, Any]:
    """The claims of a good token. Raises AuthenticationError, IssuerUnavailableError.

    Nothing is fetched for one that does not even claim to be of this issuer and audience.
    """
    header = _header(token)
    try:
        _decoded(token, config)
        key = await keys.find(header.get("kid"), header["alg"])
        return _decoded(token, config, key, header["alg"])
    except (jwt.PyJWTError, TypeError, ValueError) as error:
        raise _refusal(error) from None


def _refusal(error: Exception) -> AuthenticationError:
    """What is wrong with a token, in words that tell nothing but what its claims are about."""
    if isinstance(error, jwt.MissingRequiredClaimError):
        return AuthenticationError(f"The token lacks the claim {error.claim}.")
    for kind, (told, hint) in _REFUSALS.items():
        if isinstance(error, kind):
            return AuthenticationError(told, hint=hint)
    return AuthenticationError(_INVALID, hint="Get a new one.")


def _decoded(
    token: str, config: ServerConfig, key: Any = "", algorithm: str | None = None
) -> Mapping[str, Any]:
    """The claims of a token, checked; without a key, all but the signature is."""
    options: Any = {f"verify_{name}": True for name in ("exp", "nbf", "iat", "aud", "iss", "sub")}
    options |= {"require": _CLAIMS, "verify_signature": algorithm is not None}
    found: dict[str, Any] = jwt.decode(
        token,
        key,
        algorithms=[algorithm] if algorithm else None,
        options=options,
        issuer=config.oidc_issuer,
        audience=config.oidc_audience,
        leeway=LEEWAY_S,
    )
    if not found["sub"]:  # nobody
        raise jwt.MissingRequiredClaimError("sub")
    return found


def _header(token: str) -> Mapping[str, Any]:
    """The header of a token with an algorithm that may be used."""
    try:
        header = jwt.get_unverified_header(token)
    except jwt.PyJWTError:
        raise AuthenticationError(_INVALID) from None
    key_id = header.get("kid")
    named = key_id is None or isinstance(key_id, str)
    if str(header.get("alg")) not in ALGORITHMS:
        raise AuthenticationError(
            "The token is signed with an algorithm that is not taken.",
            hint=f"Those taken are {', '.join(ALGORITHMS)}.",
        )
    if "crit" in header or not named:
        raise AuthenticationError(_INVALID)
    return header


async def principal_of(claims: Mapping[str, Any], admin: AsyncAdmin) -> Principal:
    """What a token's claims grant. Raises AccessError."""
    config = admin.config.server
    permissions = granted(_words(claims.get(config.oidc_permissions_claim)))
    if not permissions:
        raise AccessError(
            "The token grants nothing here.",
            hint=f"Give it the claim {config.oidc_permissions_claim}: read, write or admin.",
        )
    subject = hashlib.blake2b(str(claims["sub"]).encode(), digest_size=12).hexdigest()
    return Principal(
        id=f"token-{subject}",
        kind="token",
        project=await _project(claims, admin),
        permissions=permissions,
        fence=_fence(claims, config.oidc_users_claim),
    )


async def _project(claims: Mapping[str, Any], admin: AsyncAdmin) -> str:
    name = admin.config.server.oidc_project_claim
    if name not in claims:
        return admin.config.project
    project = claims[name]
    unknown = AccessError(f"The token's claim {name} names no project that there is.")
    if not isinstance(project, str) or not project:
        raise unknown
    try:
        return (await admin.project(project)).id
    except NotFoundError:
        raise unknown from None


def _fence(claims: Mapping[str, Any], name: str) -> Fence:
    if name not in claims:
        return OPEN
    users = claims[name]
    users = [users] if isinstance(users, str) else users
    wrong = AccessError(f"The token's claim {name} is no list of users.")
    if not isinstance(users, list) or not 0 < len(users) <= USERS_MAX:
        raise wrong
    if not all(isinstance(user, str) for user in users):
        raise wrong
    try:
        ids = tuple(dict.fromkeys(intake.clean_id(user, "user_id") for user in users))
    except ValidationError:
        raise wrong from None
    return Fence(users=ids)


def _words(value: object) -> list[object]:
    """A claim that lists words, as a list or, like `scope`, with spaces between."""
    if isinstance(value, str):
        return list(value.split())
    return list(value) if isinstance(value, list) else []
