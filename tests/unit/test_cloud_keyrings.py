"""Keyrings of Google and Azure: the vendors' own clients against fakes of their services."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from holdfast.backends.keyrings.azure import AzureKeyRing, AzureSettings
from holdfast.backends.keyrings.google import GoogleKeyRing, GoogleSettings
from holdfast.backends.keyrings.providers import build
from holdfast.config import Part
from holdfast.errors import ConfigError, CorruptError, KeyRingError, MissingExtraError
from support import cloud_kms_grpc as google
from support import key_vault_wire as azure

DATA_KEY = bytes(range(32))
HERE = b"\x00\x00\x00\x03red"


@pytest.fixture
def kms() -> Iterator[google.CloudKms]:
    running = google.CloudKms()
    yield running
    running.close()


@pytest.fixture(scope="module")
def keys() -> azure.KeyVault:
    """Its RSA keys take long to make."""
    return azure.KeyVault()


@pytest.fixture
def vault(keys: azure.KeyVault) -> azure.KeyVault:
    keys.requests.clear()
    keys.status, keys.tells_public_keys = 200, True
    return keys


def google_ring(kms: google.CloudKms, key: str = google.KEY) -> GoogleKeyRing:
    return GoogleKeyRing(GoogleSettings(key=key, timeout_s=5.0), kms.client())


def azure_ring(vault: azure.KeyVault, key_id: str = azure.KEY) -> AzureKeyRing:
    algorithm: Any = "A256GCM" if key_id == azure.AES else "RSA-OAEP-256"
    given = AzureSettings(key_id=key_id, algorithm=algorithm)
    sending = {"transport": vault.transport(), "retry_total": 0}
    return AzureKeyRing(given, azure.Credential(), **sending)


async def test_google_wraps_and_unwraps(kms: google.CloudKms) -> None:
    old, new = google_ring(kms), google_ring(kms, google.NEXT)
    wrapped = await old.wrap(DATA_KEY, HERE)
    assert DATA_KEY not in wrapped
    assert (old.primary, new.primary) == (google.KEY, google.NEXT)
    assert await new.unwrap(google.KEY, wrapped, HERE) == DATA_KEY
    for name, blob, bound in (
        (google.KEY, wrapped, b"elsewhere"),
        (google.KEY, wrapped[:-1], HERE),
        (google.KEY, wrapped[:-1] + bytes([wrapped[-1] ^ 1]), HERE),
        (google.NEXT, wrapped, HERE),
    ):
        with pytest.raises(CorruptError):
            await old.unwrap(name, blob, bound)
    assert {request.name for request in kms.requests} == {google.KEY, google.NEXT}
    await old.close()
    await new.close()


@pytest.mark.parametrize("code", ["PERMISSION_DENIED", "NOT_FOUND", "RESOURCE_EXHAUSTED"])
async def test_google_that_refuses_is_no_corruption(kms: google.CloudKms, code: str) -> None:
    ring = google_ring(kms)
    wrapped = await ring.wrap(DATA_KEY, HERE)
    kms.failure = grpc.StatusCode[code]
    for call in (ring.wrap(DATA_KEY, HERE), ring.unwrap(google.KEY, wrapped, HERE)):
        with pytest.raises(KeyRingError, match=code) as told:
            await call
        assert "secret" not in f"{told.value} {told.value.hint}"
    with pytest.raises(KeyRingError, match="cannot be"):
        await ring.unwrap("projects/p/../../x", wrapped, HERE)
    kms.failure = grpc.StatusCode.INVALID_ARGUMENT
    with pytest.raises(KeyRingError, match="INVALID_ARGUMENT"):
        await ring.wrap(DATA_KEY, HERE)
    await ring.close()


async def test_google_that_is_away_is_told(kms: google.CloudKms) -> None:
    ring = GoogleKeyRing(GoogleSettings(key=google.KEY, timeout_s=0.5), kms.client())
    kms.close()
    with pytest.raises(KeyRingError):
        await ring.wrap(DATA_KEY, HERE)
    await ring.close()


@pytest.mark.parametrize("public", [True, False])
async def test_azure_wraps_and_unwraps_with_rsa(vault: azure.KeyVault, public: bool) -> None:
    """Its client computes with the public key itself, if it may read it."""
    vault.tells_public_keys = public
    ring = azure_ring(vault)
    wrapped = await ring.wrap(DATA_KEY, HERE)
    assert DATA_KEY not in wrapped
    later = azure_ring(vault, azure.NEXT)
    assert later.primary == azure.NEXT
    assert await later.unwrap(azure.KEY, wrapped, HERE) == DATA_KEY
    verbs = {verb for _, verb, _ in vault.requests}
    assert verbs - {"get"} == {"sign", "unwrapkey"} | (set() if public else {"wrapkey", "verify"})
    await ring.close()
    await later.close()


async def test_azure_wraps_and_unwraps_with_aes(vault: azure.KeyVault) -> None:
    ring = azure_ring(vault, azure.AES)
    wrapped = await ring.wrap(DATA_KEY, HERE)
    assert await ring.unwrap(azure.AES, wrapped, HERE) == DATA_KEY
    assert await azure_ring(vault).unwrap(azure.AES, wrapped, HERE) == DATA_KEY
    for changed, bound in ((wrapped[:-1], HERE), (wrapped, b"elsewhere"), (wrapped[:5], HERE)):
        with pytest.raises(CorruptError):
            await ring.unwrap(azure.AES, changed, bound)
    await ring.close()


async def test_azure_refuses_what_was_changed_or_moved(vault: azure.KeyVault) -> None:
    ring = azure_ring(vault)
    wrapped = await ring.wrap(DATA_KEY, HERE)
    changed = [
        wrapped[:place] + bytes([wrapped[place] ^ 1]) + wrapped[place + 1 :]
        for place in (0, 1, 2, 3, 200, 259, 300, len(wrapped) - 1)
    ]
    cut = [wrapped[:length] for length in (0, 1, 2, 3, 100, 259, len(wrapped) - 1)]
    for name, blob, bound in (
        (azure.KEY, wrapped, b"elsewhere"),
        (azure.NEXT, wrapped, HERE),
        *((azure.KEY, blob, HERE) for blob in (*changed, *cut, wrapped + b"\x00")),
    ):
        with pytest.raises(CorruptError):
            await ring.unwrap(name, blob, bound)
    await ring.close()


async def test_azure_refuses_a_key_that_somebody_wrapped_with_the_public_key(
    vault: azure.KeyVault,
) -> None:
    """It would be sealed with from then on, by us, and is known to whoever planted it."""
    ring = azure_ring(vault)
    wrapped = await ring.wrap(DATA_KEY, HERE)
    theirs = vault.rsa[azure.KEY].public_key().encrypt(bytes(32), azure._OAEP)
    planted = wrapped[:3] + theirs + wrapped[3 + len(theirs) :]
    with pytest.raises(CorruptError):
        await ring.unwrap(azure.KEY, planted, HERE)
    assert "unwrapkey" not in {verb for _, verb, _ in vault.requests}
    await ring.close()


async def test_azure_tells_its_token_to_no_other_host(vault: azure.KeyVault) -> None:
    ring = azure_ring(vault)
    wrapped = await ring.wrap(DATA_KEY, HERE)
    asked = len(vault.requests)
    for name in (
        azure.KEY.replace("team", "evil"),
        azure.KEY.replace("https", "http"),
        f"{azure.VAULT}@evil.net/keys/k/{'1' * 32}",
        f"{azure.VAULT}/keys/holdfast",
        "first",
    ):
        with pytest.raises(KeyRingError, match="not in the vault"):
            await ring.unwrap(name, wrapped, HERE)
    assert len(vault.requests) == asked
    await ring.close()


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500])
async def test_azure_that_refuses_is_no_corruption(vault: azure.KeyVault, status: int) -> None:
    ring = azure_ring(vault)
    wrapped = await ring.wrap(DATA_KEY, HERE)
    vault.status = status
    for call in (ring.wrap(DATA_KEY, HERE), ring.unwrap(azure.KEY, wrapped, HERE)):
        with pytest.raises(KeyRingError, match=str(status)) as told:
            await call
        assert "secret" not in f"{told.value} {told.value.hint}"
    vault.status = 400
    with pytest.raises(KeyRingError, match="400"):
        await ring.wrap(DATA_KEY, HERE)
    await ring.close()


async def test_azure_without_credentials_is_told(
    vault: azure.KeyVault, monkeypatch: pytest.MonkeyPatch
) -> None:
    from azure.core.exceptions import ClientAuthenticationError

    def none(*_: Any, **__: Any) -> Any:
        raise ClientAuthenticationError("secret words")

    monkeypatch.setattr(azure.Credential, "get_token", none)
    ring = azure_ring(vault)
    with pytest.raises(KeyRingError) as told:
        await ring.wrap(DATA_KEY, HERE)
    assert "secret" not in str(told.value)
    await ring.close()


def test_settings_are_checked() -> None:
    for provider, config in (
        ("gcp-kms", {"key": "holdfast"}),
        ("gcp-kms", {"key": google.KEY + "/cryptoKeyVersions/1"}),
        ("azure-key-vault", {"key_id": f"{azure.VAULT}/keys/holdfast"}),
        ("azure-key-vault", {"key_id": azure.KEY.replace("https", "http")}),
        ("azure-key-vault", {"key_id": azure.KEY, "algorithm": "RSA1_5"}),
    ):
        with pytest.raises(ConfigError, match=r"seal\.config\.(key|algorithm)"):
            build(Part(provider, config))


def test_no_credentials_of_google_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from google.auth.exceptions import DefaultCredentialsError
    from google.cloud import kms_v1

    def none(**_: Any) -> Any:
        raise DefaultCredentialsError("secret words")

    monkeypatch.setattr(kms_v1, "KeyManagementServiceClient", none)
    with pytest.raises(ConfigError, match="no credentials") as told:
        build(Part("gcp-kms", {"key": google.KEY}))
    assert "secret" not in str(told.value)


@pytest.mark.parametrize(
    ("provider", "module", "package", "extra"),
    [
        ("gcp-kms", "google", "google.cloud", "gcp-kms"),
        ("azure-key-vault", "azure", "azure.identity", "azure-key-vault"),
    ],
)
def test_a_missing_client_names_the_extra(
    provider: str, module: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"holdfast.backends.keyrings.{module}", raising=False)
    with pytest.raises(MissingExtraError) as told:
        build(Part(provider))
    assert f"holdfast[{extra}]" in told.value.hint
