"""Whatever comes over the wire: it is read as what it is, or refused with the error for it."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import jwt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from holdfast.config import load_config
from holdfast.core.cursor import decode_cursor, encode_cursor
from holdfast.core.webhooks import clean_url
from holdfast.errors import AuthenticationError, ValidationError
from holdfast.server.auth.oidc import verified
from holdfast.server.auth.tokens import Claims, Tokens

KEY = b"k" * 32
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)
"""Any JSON."""
CLAIMS = st.fixed_dictionaries(
    {},
    optional={
        name: VALUES | st.sampled_from(good)
        for name, good in {
            "iss": ["holdfast", "https://issuer.example"],
            "aud": ["us"],
            "sub": ["ada"],
            "sid": ["1"],
            "type": ["access", "refresh"],
            "iat": [1],
            "nbf": [1],
            "exp": [2**33],
        }.items()
    },
)
HEADERS = st.fixed_dictionaries(
    {"alg": VALUES | st.sampled_from(["HS256", "none", "RS256", "HS512", "ES256"])},
    optional={"kid": VALUES, "typ": VALUES, "crit": VALUES, "b64": VALUES},
)
PARTS = st.binary(max_size=40) | st.builds(lambda value: json.dumps(value).encode(), VALUES)


def part(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def token(header: bytes, body: bytes, signature: bytes) -> str:
    return ".".join(map(part, (header, body, signature)))


FORGED = (
    st.text(max_size=60)
    | st.builds(token, PARTS, PARTS, st.binary(max_size=40))
    | st.builds(
        lambda header, claims, signature: token(
            json.dumps(header).encode(), json.dumps(claims).encode(), signature
        ),
        HEADERS,
        CLAIMS,
        st.binary(max_size=40),
    )
)
"""Tokens that nobody signed, from nonsense to nearly right."""


@given(st.text(max_size=40))
@example("A" * 22)
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        decode_cursor(text, "shop", KEY)


@given(st.integers(0, 2**63 - 1), st.integers(0, 21), st.integers(1, 63))
def test_a_cursor_comes_back_and_no_other_digit_does(number: int, place: int, step: int) -> None:
    cursor = encode_cursor(number, "shop", KEY)
    assert decode_cursor(cursor, "shop", KEY) == number
    with pytest.raises(ValidationError):
        decode_cursor(cursor, "other", KEY)
    digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    digit = digits[(digits.index(cursor[place]) + step) % 64]
    if place == 21 and digits.index(digit) // 16 == digits.index(cursor[place]) // 16:
        return  # bits of the last digit that mean nothing: it says the same
    with pytest.raises(ValidationError):
        decode_cursor(cursor[:place] + digit + cursor[place + 1 :], "shop", KEY)


@given(FORGED, st.sampled_from(["access", "refresh"]))
def test_a_forged_token_of_an_account_is_refused(forged: str, kind: Any) -> None:
    with pytest.raises(AuthenticationError):
        Tokens(KEY).read(forged, kind)


GOOD = {"sub": "ada", "sid": "1", "type": "access", "iat": 1, "exp": 2**33}


@given(CLAIMS, st.sampled_from(["access", "refresh"]))
@example({**GOOD, "iss": "holdfast"}, "access")
@example({**GOOD, "iss": "holdfast", "sub": 7}, "access")
@example({**GOOD, "iss": "holdfast", "sid": None}, "access")
def test_claims_of_any_shape_are_read_or_refused(claims: dict[str, Any], kind: Any) -> None:
    signed = _signed(claims, "HS256", KEY)
    try:
        found = Tokens(KEY).read(signed, kind)
    except AuthenticationError:
        return
    assert found == Claims(claims["sub"], claims["sid"])
    assert (claims["type"], claims["iss"]) == (kind, "holdfast")
    assert isinstance(found.account, str)


def _signed(claims: dict[str, Any], algorithm: str, key: Any) -> str:
    """A token with these claims, whatever PyJWT would say of writing them."""
    return jwt.api_jws.encode(json.dumps(claims).encode(), key, algorithm)


class Keys:
    """Stands for an issuer's keys."""

    def __init__(self, key: Any) -> None:
        self._key = key

    async def find(self, key_id: str | None, algorithm: str) -> Any:
        return self._key


@pytest.fixture(scope="module")
def issuer_key() -> Any:
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP256R1())


SERVER = load_config(
    {"path": "x", "server": {"oidc_issuer": "https://issuer.example", "oidc_audience": "us"}}
).config.server


@given(forged=FORGED)
def test_a_forged_token_of_an_issuer_is_refused(forged: str, issuer_key: Any) -> None:
    keys: Any = Keys(issuer_key.public_key())
    with pytest.raises(AuthenticationError):
        asyncio.run(verified(forged, SERVER, keys))


@given(claims=CLAIMS)
@example(claims={**GOOD, "iss": "https://issuer.example", "aud": "us"})
@example(claims={**GOOD, "iss": "https://issuer.example", "aud": [["us"]]})
def test_claims_of_an_issuer_of_any_shape_are_read_or_refused(
    claims: dict[str, Any], issuer_key: Any
) -> None:
    keys: Any = Keys(issuer_key.public_key())
    try:
        found = asyncio.run(verified(_signed(claims, "ES256", issuer_key), SERVER, keys))
    except AuthenticationError:
        return
    assert found["iss"] == "https://issuer.example"
    assert isinstance(found["sub"], str)


@given(VALUES | st.text().map("https://{}".format) | st.text().map("http://127.0.0.1{}".format))
def test_any_address_of_a_webhook_is_taken_or_refused(value: object) -> None:
    try:
        cleaned = clean_url(value, private=False)
    except ValidationError:
        return
    assert cleaned.startswith(("https://", "http://"))
    assert clean_url(cleaned, private=False) == cleaned
