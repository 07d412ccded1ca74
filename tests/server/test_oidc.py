"""Tokens of an issuer, over real sockets: what is taken, what is refused, and what they grant."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from holdfast.config import load_config
from holdfast.errors import ConfigError
from holdfast.server.app import build
from holdfast.server.auth import oidc_keys
from holdfast.server.auth.oidc_keys import IssuerKeys, is_safe, public_key
from support.issuer import AUDIENCE, Issuer, issuing, jwk
from support.served import Served, served

Ask = Callable[..., httpx.Response]


@pytest.fixture(scope="module")
def one_key() -> Any:
    return rsa.generate_private_key(65_537, 2_048)


@pytest.fixture
def issuer(one_key: Any) -> Iterator[Issuer]:
    with issuing(Issuer()) as running:
        running.keys = {"one": one_key}
        yield running


@pytest.fixture
def guarded(issuer: Issuer, tmp_path: Path) -> Iterator[Served]:
    """A server that takes the issuer's tokens."""
    with served(tmp_path / "guarded", oidc_issuer=issuer.url, oidc_audience=AUDIENCE) as running:
        yield running


@pytest.fixture
def ask(guarded: Served) -> Iterator[Ask]:
    with httpx.Client(base_url=guarded.url) as client:

        def call(token: str, path: str = "/v1/ping/", method: str = "GET", **more: Any) -> Any:
            headers = {"Authorization": f"Bearer {token}"}
            return client.request(method, path, headers=headers, **more)

        yield call


def b64(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")


def by_hand(header: dict[str, Any], claims: dict[str, Any], sign: Callable[[bytes], bytes]) -> str:
    """A token that no library would make."""
    text = f"{b64(json.dumps(header).encode())}.{b64(json.dumps(claims).encode())}"
    return f"{text}.{b64(sign(text.encode()))}"


def hmac_of(secret: bytes, text: bytes) -> bytes:
    return hmac.digest(secret, text, hashlib.sha256)


def test_a_good_token_is_taken_and_its_keys_fetched_once(issuer: Issuer, ask: Ask) -> None:
    for _ in range(3):
        assert ask(issuer.token()).json()["project_id"] == "default"
    assert issuer.requests == ["/.well-known/openid-configuration", "/keys"]


@pytest.mark.parametrize(
    ("algorithm", "make"),
    [
        ("ES256", lambda: ec.generate_private_key(ec.SECP256R1())),
        ("ES384", lambda: ec.generate_private_key(ec.SECP384R1())),
        ("EdDSA", ed25519.Ed25519PrivateKey.generate),
        ("PS256", lambda: rsa.generate_private_key(65_537, 2_048)),
    ],
)
def test_other_algorithms_with_a_public_key(
    issuer: Issuer, ask: Ask, algorithm: str, make: Callable[[], Any]
) -> None:
    issuer.keys["two"] = make()
    assert ask(issuer.token("two", algorithm)).status_code == 200


def test_refused_tokens(issuer: Issuer, ask: Ask) -> None:
    now = int(time.time())
    assert ask(issuer.token()).status_code == 200
    stranger = Issuer()
    stranger.url = issuer.url
    refused = {
        "expired": issuer.token(exp=now - 60),
        "without an end": issuer.token(exp=None),
        "not yet": issuer.token(nbf=now + 300),
        "issued in the future": issuer.token(iat=now + 300),
        "for another audience": issuer.token(aud="another"),
        "for no audience": issuer.token(aud=None),
        "of another issuer": issuer.token(iss="https://issuer.example"),
        "of no issuer": issuer.token(iss=None),
        "of nobody": issuer.token(sub=None),
        "signed by a stranger": stranger.token(),
        "cut": issuer.token()[:-8],
        "of words": "a.b.c",
        "of nothing": "..",
    }
    got = {name: ask(token).status_code for name, token in refused.items()}
    assert got == dict.fromkeys(refused, 401)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"exp": 1}, "The token has expired."),
        ({"nbf": 4_000_000_000}, "The token is not good yet."),
        ({"iat": 4_000_000_000}, "The token is not good yet."),
        ({"aud": "another"}, "The token is for another audience."),
        ({"aud": None}, "The token lacks the claim aud."),
        ({"exp": None}, "The token lacks the claim exp."),
        ({"sub": None}, "The token lacks the claim sub."),
        ({"sub": ""}, "The token lacks the claim sub."),
        ({"iss": "https://issuer.example"}, "The token is of an issuer that is not known here."),
        ({"iss": None}, "The token is of an issuer that is not known here."),
    ],
)
def test_a_refusal_tells_what_is_wrong_with_a_token(
    issuer: Issuer, ask: Ask, wrong: dict[str, Any], told: str
) -> None:
    answer = ask(issuer.token(**wrong))
    assert answer.status_code == 401
    assert answer.json()["detail"].startswith(told)
    assert AUDIENCE not in answer.text
    assert issuer.url not in answer.text


def test_a_refusal_tells_what_is_wrong_with_a_signature(issuer: Issuer, ask: Ask) -> None:
    stranger = Issuer()
    stranger.url = issuer.url
    assert "does not fit its key" in ask(stranger.token()).json()["detail"]
    unsigned = by_hand({"alg": "none", "kid": "one"}, issuer.claims(), lambda _: b"")
    assert "an algorithm that is not taken" in ask(unsigned).json()["detail"]
    assert ask("a.b.c").json()["detail"].startswith("The API key is not valid.")


def test_clocks_may_differ_a_little(issuer: Issuer, ask: Ask) -> None:
    now = int(time.time())
    assert ask(issuer.token(exp=now - 5, nbf=now + 5)).status_code == 200


def test_no_algorithm_but_those_with_a_public_key(issuer: Issuer, ask: Ask) -> None:
    assert ask(issuer.token()).status_code == 200  # its keys are known now
    claims = issuer.claims()
    public = issuer.keys["one"].public_key()
    pem = public.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    der = public.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    refused = [
        by_hand({"alg": name, "typ": "JWT", "kid": "one"}, claims, lambda _: b"")
        for name in ("none", "None", "NONE", "nOnE", "")
    ]
    secrets = (pem, pem.strip(), der, json.dumps(jwk(issuer.keys["one"])).encode())
    refused += [
        by_hand({"alg": "HS256", "kid": "one"}, claims, partial(hmac_of, secret))
        for secret in secrets
    ]
    good = jwt.encode(claims, issuer.keys["one"], "RS256", headers={"kid": "one"})
    _, payload, signature = good.split(".")
    refused += [
        f"{b64(json.dumps(header).encode())}.{payload}.{signature}"
        for header in (
            {"alg": ["RS256"], "kid": "one"},
            {"alg": "ES256", "kid": "one"},
            {"alg": "RS256", "kid": ["one"]},
            {"alg": "RS256", "kid": "one", "jwk": jwk(issuer.keys["one"])},
        )
    ]
    refused.append(
        jwt.encode(claims, issuer.keys["one"], "RS256", headers={"kid": "one", "crit": ["x"]})
    )
    assert [ask(token).status_code for token in refused] == [401] * len(refused)


def test_a_key_that_a_token_brings_is_not_believed(issuer: Issuer, ask: Ask) -> None:
    own = rsa.generate_private_key(65_537, 2_048)
    for headers in (
        {"kid": "one", "jwk": jwk(own)},
        {"kid": "one", "jku": f"{issuer.url}/mine"},
        {"jwk": jwk(own)},
    ):
        token = jwt.encode(issuer.claims(), own, "RS256", headers=headers)
        assert ask(token).status_code == 401
    assert "/mine" not in issuer.requests


def test_new_keys_are_found_and_unknown_ones_do_not_make_it_fetch(
    issuer: Issuer, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ask(issuer.token()).status_code == 200
    asked = len(issuer.requests)
    stranger = rsa.generate_private_key(65_537, 2_048)
    for number in range(20):
        headers = {"kid": f"unknown-{number}"}
        token = jwt.encode(issuer.claims(), stranger, "RS256", headers=headers)
        assert ask(token).status_code == 401
    assert len(issuer.requests) == asked  # within the pause
    issuer.keys = {"two": stranger}
    monkeypatch.setattr(oidc_keys, "PAUSE_S", 0.0)
    assert ask(issuer.token("two")).status_code == 200
    old = jwt.encode(issuer.claims(), rsa.generate_private_key(65_537, 2_048), "RS256")
    assert ask(old).status_code == 401


def test_nothing_is_fetched_for_what_is_not_for_us(issuer: Issuer, ask: Ask) -> None:
    for token in (issuer.token(aud="another"), issuer.token(iss="https://x.example"), "a.b.c"):
        assert ask(token).status_code == 401
    assert issuer.requests == []


def test_known_keys_go_on_while_the_issuer_is_away(
    one_key: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    issuer = Issuer()
    issuer.keys = {"one": one_key}
    with issuing(issuer):
        port = int(issuer.url.rpartition(":")[2])
        with served(tmp_path / "a", oidc_issuer=issuer.url, oidc_audience=AUDIENCE) as server:
            assert _ping(server, issuer.token()) == 200
            monkeypatch.setattr(oidc_keys, "PAUSE_S", 0.0)
            monkeypatch.setattr(oidc_keys, "KEYS_S_MAX", 0.0)
            issuer.body = b"not json"
            assert _ping(server, issuer.token()) == 200
            monkeypatch.setattr(oidc_keys, "STALE_S_MAX", 0.0)
            assert _ping(server, issuer.token()) == 503
            issuer.body = None
            monkeypatch.setattr(oidc_keys, "STALE_S_MAX", 60.0)
            assert _ping(server, issuer.token()) == 200
    with served(tmp_path / "b", oidc_issuer=issuer.url, oidc_audience=AUDIENCE) as server:
        answer = httpx.get(
            f"{server.url}/v1/ping/", headers={"Authorization": f"Bearer {issuer.token()}"}
        )
        assert answer.status_code == 503
        assert answer.json()["code"] == "ISSUER_UNAVAILABLE"
        assert int(answer.headers["retry-after"]) >= 1
        assert httpx.get(f"{server.url}/v1/ping/", headers=server.headers).status_code == 200
        with issuing(issuer, port):
            assert _ping(server, issuer.token()) == 200


def _ping(server: Served, token: str) -> int:
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.get(f"{server.url}/v1/ping/", headers=headers).status_code


@pytest.mark.parametrize(
    "metadata",
    [
        {"issuer": "https://another.example"},
        {"jwks_uri": "http://keys.example/keys"},
        {"jwks_uri": "file:///keys"},
        {"jwks_uri": 7},
    ],
)
async def test_metadata_of_others_is_not_believed(issuer: Issuer, metadata: dict[str, Any]) -> None:
    issuer.metadata = metadata
    with pytest.raises(Exception, match="cannot be reached"):
        await IssuerKeys(issuer.url).find("one", "RS256")


async def test_documents_are_bounded(issuer: Issuer) -> None:
    issuer.body = b'{"keys": [' + b" " * oidc_keys.DOCUMENT_BYTES_MAX + b"]}"
    with pytest.raises(Exception, match="cannot be reached"):
        await IssuerKeys(issuer.url).find("one", "RS256")


async def test_keys_may_be_at_an_address_that_is_set(issuer: Issuer) -> None:
    assert await IssuerKeys("https://issuer.example", f"{issuer.url}/keys").find(None, "RS256")
    assert issuer.requests == ["/keys"]


def test_keys_that_are_weak_secret_or_for_something_else_are_left_out(one_key: Any) -> None:
    good = jwk(one_key)
    assert public_key(good) is not None
    for bad in (
        jwk(rsa.generate_private_key(65_537, 1_024)),
        {**good, "use": "enc"},
        {**good, "alg": "HS256"},
        {**good, "alg": "RSA-OAEP"},
        {**good, "n": "!"},
        {"kty": "oct", "k": "c2VjcmV0"},
        {"kty": "EC", "crv": "secp256k1", "x": "AA", "y": "AA"},
        {},
        "key",
    ):
        assert public_key(bad) is None, bad


# ------------------------------------------------------------------ what a token grants


def test_claims_grant_permissions(issuer: Issuer, ask: Ask) -> None:
    def status(permissions: Any, path: str, method: str = "GET") -> int:
        token = issuer.token(holdfast_permissions=permissions)
        return ask(token, path, method, params={"user_id": "ann"}).status_code

    assert status("read", "/memories") == 200
    assert status("read write", "/memories") == 200
    assert status(["reader"], "/memories") == 200
    assert status(["read", "write"], "/memories", "DELETE") == 403
    assert status(["admin"], "/memories", "DELETE") == 200
    for nothing in (None, [], "", "everything", 7, {"read": True}, [["admin"]], True):
        assert status(nothing, "/memories") == 403, nothing


def test_a_token_never_runs_the_deployment(issuer: Issuer, ask: Ask) -> None:
    token = issuer.token(holdfast_permissions=["read", "write", "admin"])
    assert ask(token, "/configure", "POST", json={}).status_code == 403


def test_a_token_names_its_project(issuer: Issuer, ask: Ask, guarded: Served) -> None:
    guarded.run(guarded.deployment.admin.create_project("Shop", project_id="shop"))
    assert ask(issuer.token(holdfast_project="shop")).json()["project_id"] == "shop"
    for wrong in ("nowhere", "", 7, ["shop"], {"a": 1}):
        assert ask(issuer.token(holdfast_project=wrong)).status_code == 403, wrong


def test_a_token_for_certain_users_sees_no_others(
    issuer: Issuer, ask: Ask, guarded: Served
) -> None:
    memory = guarded.deployment.admin.memory()
    for user in ("ann", "bob"):
        guarded.run(memory.add(f"{user} likes tea", user_id=user))
    token = issuer.token(holdfast_users=["ann"])
    body = {"query": "tea", "filters": {"OR": [{"user_id": "ann"}, {"user_id": "bob"}]}}
    found = ask(token, "/search", "POST", json=body).json()["results"]
    assert [one["memory"] for one in found] == ["ann likes tea"]
    assert [one["id"] for one in ask(token, "/entities").json()] == ["ann"]
    for wrong in ([], [""], [7], {"ann": 1}, 7, True, [["ann"]], ["a"] * 1_001):
        assert ask(issuer.token(holdfast_users=wrong), "/entities").status_code == 403, wrong
    null = jwt.encode(
        issuer.claims() | {"holdfast_users": None, "holdfast_project": "default"},
        issuer.keys["one"],
        "RS256",
        headers={"kid": "one"},
    )
    assert ask(null, "/entities").status_code == 403


@pytest.mark.parametrize(
    "settings",
    [
        {"oidc_issuer": "https://issuer.example"},
        {"oidc_issuer": "http://issuer.example", "oidc_audience": "a"},
        {"oidc_issuer": "issuer.example", "oidc_audience": "a"},
        {
            "oidc_issuer": "https://issuer.example",
            "oidc_audience": "a",
            "oidc_jwks_url": "http://k.example",
        },
    ],
)
async def test_settings_that_let_others_in_are_refused(
    settings: dict[str, str], tmp_path: Path
) -> None:
    config = load_config({"path": str(tmp_path), "server": settings}).config
    app = build(config)
    with pytest.raises(ConfigError, match="oidc"):
        async with app.router.lifespan_context(app):
            pass


def test_safe_addresses() -> None:
    assert is_safe("https://issuer.example/x")
    assert is_safe("http://127.0.0.1:8080")
    assert is_safe("http://[::1]:8080")
    assert is_safe("http://localhost")
    for url in ("http://issuer.example", "ftp://localhost", "https://", "localhost", "http://[::1"):
        assert not is_safe(url), url
