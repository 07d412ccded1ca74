"""Keyrings of services, on their wire: Vault's HTTP interface, KMS through the vendor's client."""

from __future__ import annotations

import base64
import json
import os
from typing import Any

import httpx
import pytest

from holdfast.backends.keyrings.providers import build
from holdfast.backends.keyrings.vault import VaultKeyRing, VaultSettings
from holdfast.config import Part
from holdfast.core.seal import Place, seal, unseal
from holdfast.errors import ConfigError, CorruptError, KeyRingError, MissingExtraError

KEY = bytes(range(32))
HERE = b"\x00\x00\x00\x03red"


class Vault:
    """A transit engine: keys by name, and every request it got."""

    def __init__(self) -> None:
        self.keys = {"holdfast": os.urandom(32), "next": os.urandom(32)}
        self.requests: list[httpx.Request] = []
        self.status = 200

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if self.status != 200:
            return httpx.Response(self.status, json={"errors": ["secret words"]})
        _, _, mount, verb, name = request.url.path.split("/")
        if mount != "transit" or name not in self.keys:
            return httpx.Response(404, json={"errors": []})
        body = json.loads(request.content)
        place = Place(name, "transit", "", body["associated_data"])
        if verb == "encrypt":
            text = seal(self.keys[name], 1, os.urandom(12), place, body["plaintext"])
            return httpx.Response(200, json={"data": {"ciphertext": f"vault:v1:{text}"}})
        try:
            sealed = body["ciphertext"].removeprefix("vault:v1:")
            plain = unseal(self.keys[name], place, sealed)
        except CorruptError:
            return httpx.Response(400, json={"errors": ["message authentication failed"]})
        return httpx.Response(200, json={"data": {"plaintext": plain}})


@pytest.fixture
def vault() -> Vault:
    return Vault()


def ring(vault: Any, **settings: Any) -> VaultKeyRing:
    given = VaultSettings(url="https://vault.test:8200/", token="s.secret", **settings)
    return VaultKeyRing(given, httpx.MockTransport(vault))


async def test_vault_wraps_and_unwraps(vault: Vault) -> None:
    wrapped = await ring(vault, namespace="team").wrap(KEY, HERE)
    assert KEY not in wrapped
    assert base64.b64encode(KEY) not in wrapped
    assert await ring(vault, key="next").unwrap("holdfast", wrapped, HERE) == KEY
    assert ring(vault, key="next").primary == "next"
    first = vault.requests[0]
    assert first.headers["x-vault-token"] == "s.secret"
    assert first.headers["x-vault-namespace"] == "team"
    assert str(first.url) == "https://vault.test:8200/v1/transit/encrypt/holdfast"


async def test_vault_refuses_what_was_changed_or_moved(vault: Vault) -> None:
    wrapped = await ring(vault).wrap(KEY, HERE)
    for name, blob, bound in (
        ("holdfast", wrapped, b"elsewhere"),
        ("holdfast", wrapped[:-2] + b"AA", HERE),
        ("next", wrapped, HERE),
        ("holdfast", b"\xff\xfe", HERE),
    ):
        with pytest.raises(CorruptError):
            await ring(vault).unwrap(name, blob, bound)


@pytest.mark.parametrize("status", [403, 404, 429, 500, 503, 307])
async def test_vault_that_refuses_is_no_corruption(vault: Vault, status: int) -> None:
    wrapped = await ring(vault).wrap(KEY, HERE)
    vault.status = status
    for call in (ring(vault).wrap(KEY, HERE), ring(vault).unwrap("holdfast", wrapped, HERE)):
        with pytest.raises(KeyRingError) as told:
            await call
        assert "secret" not in f"{told.value} {told.value.hint}"
    with pytest.raises(KeyRingError):
        await ring(vault).unwrap("../../sys/seal", wrapped, HERE)


@pytest.mark.parametrize("answer", ["no json", "[]", '{"data": 3}', '{"data": {}}'])
async def test_what_is_no_vault_is_told(answer: str) -> None:
    strange = ring(lambda _: httpx.Response(200, text=answer))
    for call in (strange.wrap(KEY, HERE), strange.unwrap("holdfast", b"vault:v1:x", HERE)):
        with pytest.raises(KeyRingError, match="does not speak"):
            await call


async def test_vault_that_is_away_is_told() -> None:
    def away(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("no", request=request)

    with pytest.raises(KeyRingError, match="does not answer"):
        await ring(away).wrap(KEY, HERE)


def test_settings_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VAULT_TOKEN", raising=False)
    with pytest.raises(ConfigError, match="needs a token"):
        build(Part("vault", {"url": "https://vault.test"}))
    with pytest.raises(ConfigError, match="no such setting"):
        build(Part("vault", {"url": "https://vault.test", "tokn": "x"}))
    with pytest.raises(ConfigError, match="there is no 'kms'"):
        build(Part("kms"))
    with pytest.raises(ConfigError):
        build(Part("file"))


def kms() -> Any:
    import boto3

    return boto3.client(
        "kms", region_name="eu-central-1", aws_access_key_id="a", aws_secret_access_key="b"
    )


async def test_kms_wraps_and_unwraps_with_its_context() -> None:
    client = kms()
    from botocore.stub import Stubber

    from holdfast.backends.keyrings.aws import AwsKeyRing, AwsSettings

    context = {"holdfast": base64.b64encode(HERE).decode()}
    keyring = AwsKeyRing(AwsSettings(key_id="alias/holdfast"), client)
    with Stubber(client) as stub:
        asked = {"KeyId": "alias/holdfast", "EncryptionContext": context}
        stub.add_response("encrypt", {"CiphertextBlob": b"w"}, {**asked, "Plaintext": KEY})
        stub.add_response(
            "decrypt", {"Plaintext": KEY}, {**asked, "KeyId": "alias/old", "CiphertextBlob": b"w"}
        )
        assert await keyring.wrap(KEY, HERE) == b"w"
        assert await keyring.unwrap("alias/old", b"w", HERE) == KEY
        for code in ("InvalidCiphertextException", "IncorrectKeyException"):
            stub.add_client_error("decrypt", code, "secret words")
            with pytest.raises(CorruptError):
                await keyring.unwrap("alias/old", b"w", HERE)
        for code in ("AccessDeniedException", "ThrottlingException", "KMSInternalException"):
            stub.add_client_error("encrypt", code, "secret words")
            with pytest.raises(KeyRingError, match=code) as told:
                await keyring.wrap(KEY, HERE)
            assert "secret" not in str(told.value)
    await keyring.close()


def test_a_missing_client_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "boto3", None)
    monkeypatch.delitem(sys.modules, "holdfast.backends.keyrings.aws", raising=False)
    with pytest.raises(MissingExtraError, match="boto3") as told:
        build(Part("aws-kms", {"key_id": "k"}))
    assert "holdfast[aws-kms]" in told.value.hint
