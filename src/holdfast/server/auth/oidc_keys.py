"""The public keys of an issuer of tokens: found by its metadata, fetched with care, remembered.

What is remembered is good for a while, and for longer while the issuer is away. A token cannot make
the server fetch more than once in a pause, whatever it names.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import jwt
import msgspec

from holdfast.errors import AuthenticationError, IssuerUnavailableError
from holdfast.model import Struct

ALGORITHMS: Final[Mapping[str, tuple[str, str | None]]] = {
    **{f"{family}{bits}": ("RSA", None) for family in ("RS", "PS") for bits in (256, 384, 512)},
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", "Ed25519"),
}
"""What is accepted, with the type and curve of its keys: algorithms that have a public key."""

KEYS_S_MAX: Final = 600.0
"""Seconds after which keys are fetched anew."""

STALE_S_MAX: Final = 86_400.0
"""Seconds for which keys are used while the issuer is away."""

PAUSE_S: Final = 10.0
"""Least seconds between two tries to fetch keys."""

FETCH_TIMEOUT_S: Final = 5.0
DOCUMENT_BYTES_MAX: Final = 262_144
KEYS_MAX: Final = 100
RSA_BITS_MIN: Final = 2_048

_log = logging.getLogger("holdfast.server")


class PublicKey(Struct, frozen=True):
    """A key that signatures are checked with."""

    id: str | None
    algorithm: str | None
    """The only one it is for, if it says so."""
    type: str
    curve: str | None
    key: Any


class IssuerKeys:
    """Finds the key of a token."""

    def __init__(self, issuer: str, jwks_url: str = "") -> None:
        """`jwks_url`: where the keys are; without one, the issuer's metadata says it."""
        self._issuer = issuer
        self._jwks_url = jwks_url
        self._keys: Sequence[PublicKey] = ()
        self._fetched_at = -STALE_S_MAX - 1
        self._tried_at = -PAUSE_S - 1
        self._fetching = asyncio.Lock()

    async def find(self, key_id: str | None, algorithm: str) -> Any:
        """The key with this id for this algorithm; without an id, the only one there is for it.

        Raises AuthenticationError, IssuerUnavailableError if no keys are known.
        """
        if time.monotonic() - self._fetched_at > KEYS_S_MAX:
            await self._refresh()
        found = self._matching(key_id, algorithm)
        if found is None:
            await self._refresh()
            found = self._matching(key_id, algorithm)
        if time.monotonic() - self._fetched_at > STALE_S_MAX:
            raise IssuerUnavailableError(
                "The issuer of tokens cannot be reached, and none of its keys are known.",
                hint="Try again later, or use an API key.",
                retry_after_s=PAUSE_S,
            )
        if found is None:
            raise AuthenticationError("The token is signed with a key that its issuer has not.")
        return found

    def _matching(self, key_id: str | None, algorithm: str) -> Any:
        kind, curve = ALGORITHMS[algorithm]
        found = [
            key
            for key in self._keys
            if (key_id is None or key.id == key_id)
            and key.type == kind
            and curve in (None, key.curve)
            and key.algorithm in (None, algorithm)
        ]
        return found[0].key if len(found) == 1 else None

    async def _refresh(self) -> None:
        """Fetch the keys, unless that was tried a moment ago; a failure leaves those known."""
        async with self._fetching:
            if time.monotonic() - self._tried_at < PAUSE_S:
                return
            self._tried_at = time.monotonic()
            try:
                async with asyncio.timeout(FETCH_TIMEOUT_S):
                    self._keys = await self._fetch()
            except (httpx.HTTPError, httpx.InvalidURL, ValueError, TimeoutError) as error:
                _log.warning("the issuer's keys cannot be fetched: %s", type(error).__name__)
                return
            self._fetched_at = time.monotonic()

    async def _fetch(self) -> Sequence[PublicKey]:
        async with httpx.AsyncClient(timeout=FETCH_TIMEOUT_S, follow_redirects=False) as client:
            url = self._jwks_url or await self._discovered(client)
            document = await _document(client, url)
        keys = document.get("keys")
        if not isinstance(keys, list):
            raise ValueError("no list of keys")
        return [key for each in keys[:KEYS_MAX] if (key := public_key(each)) is not None]

    async def _discovered(self, client: httpx.AsyncClient) -> str:
        place = f"{self._issuer.rstrip('/')}/.well-known/openid-configuration"
        document = await _document(client, place)
        url = document.get("jwks_uri")
        if document.get("issuer") != self._issuer or not isinstance(url, str) or not is_safe(url):
            raise ValueError("metadata of another issuer, or keys at no safe address")
        return url


def public_key(each: Any) -> PublicKey | None:
    """A key for signatures out of a set; None for one of another use, or too weak."""
    if not isinstance(each, dict) or each.get("use", "sig") != "sig":
        return None
    kind, curve, algorithm = each.get("kty"), each.get("crv"), each.get("alg")
    fitting = [name for name, of in ALGORITHMS.items() if of[0] == kind and of[1] in (None, curve)]
    if (
        not isinstance(kind, str)
        or not fitting
        or (algorithm is not None and algorithm not in fitting)
    ):
        return None
    public = {name: value for name, value in each.items() if name not in ("d", "p", "q")}
    try:
        key = jwt.PyJWK(public, algorithm or fitting[0]).key
    except jwt.PyJWTError:
        return None
    if kind == "RSA" and key.key_size < RSA_BITS_MIN:
        return None
    key_id = each.get("kid")
    return PublicKey(key_id if isinstance(key_id, str) else None, algorithm, kind, curve, key)


def is_safe(url: str) -> bool:
    """Whether nobody on the way can change what comes from there: https, or this machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    if parts.scheme == "https":
        return bool(host)
    return parts.scheme == "http" and _is_here(host)


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


async def _document(client: httpx.AsyncClient, url: str) -> dict[str, Any]:
    """A JSON object of bounded size. Raises httpx.HTTPError, ValueError."""
    content = bytearray()
    async with client.stream("GET", url) as answer:
        if answer.status_code != httpx.codes.OK:
            raise ValueError(f"status {answer.status_code}")
        async for piece in answer.aiter_bytes():
            content += piece
            if len(content) > DOCUMENT_BYTES_MAX:
                raise ValueError("the document is too large")
    found = msgspec.json.decode(content)
    if not isinstance(found, dict):
        raise ValueError("no JSON object")
    return found
