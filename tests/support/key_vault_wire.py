"""A fake of Azure Key Vault and of a managed HSM: their HTTP interface, for the vendor's client.

It stands where the client's connection would be; behind it are keys of the tests.
"""

from __future__ import annotations

import base64
import json
import os
from io import BytesIO
from typing import Any

import requests
from azure.core.credentials import AccessToken
from azure.core.pipeline.transport import RequestsTransport
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from requests.adapters import HTTPAdapter
from urllib3 import HTTPResponse

VAULT = "https://team.vault.azure.net"
KEY = f"{VAULT}/keys/holdfast/{'1' * 32}"
NEXT = f"{VAULT}/keys/holdfast/{'2' * 32}"
AES = f"{VAULT}/keys/aes/{'3' * 32}"

_OAEP = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
_PSS = padding.PSS(padding.MGF1(hashes.SHA256()), hashes.SHA256.digest_size)
_SHA = Prehashed(hashes.SHA256())


class Credential:
    """Gives tokens, as those of azure-identity do."""

    def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        assert scopes == ("https://vault.azure.net/.default",)
        return AccessToken("token-of-tests", 4_000_000_000)


class KeyVault(HTTPAdapter):
    """Answers requests to the vault; `requests` are those that carried a token."""

    def __init__(self) -> None:
        super().__init__()
        self.rsa = {key: rsa.generate_private_key(65537, 2048) for key in (KEY, NEXT)}
        self.aes = AESGCM(os.urandom(32))
        self.requests: list[tuple[str, str, dict[str, Any]]] = []
        self.status = 200
        self.tells_public_keys = True

    def transport(self) -> RequestsTransport:
        """A connection of the vendor's client that leads here."""
        session = requests.Session()
        session.mount("https://", self)
        return RequestsTransport(session=session, session_owner=False)

    def send(self, request: Any, *_: Any, **__: Any) -> Any:
        if "Authorization" not in request.headers:
            told = f'Bearer authorization="{VAULT}/tenant", resource="https://vault.azure.net"'
            return self._answer(request, 401, {}, {"WWW-Authenticate": told})
        assert request.headers["Authorization"] == "Bearer token-of-tests"
        key, verb = _target(request)
        body = json.loads(request.body) if request.body else {}
        self.requests.append((key, verb, body))
        if self.status != 200:
            return self._answer(request, self.status, {"error": {"code": "secret words"}})
        status, answer = self._done(key, verb, body)
        return self._answer(request, status, answer)

    def _answer(
        self, request: Any, status: int, body: Any, headers: dict[str, str] | None = None
    ) -> Any:
        raw = HTTPResponse(
            body=BytesIO(json.dumps(body).encode()),
            status=status,
            headers={"Content-Type": "application/json", **(headers or {})},
            preload_content=False,
        )
        return self.build_response(request, raw)

    def _done(self, key: str, verb: str, body: dict[str, Any]) -> tuple[int, Any]:
        if verb == "get":
            return self._public(key)
        if key not in self.rsa and key != AES:
            return 404, {"error": {"code": "KeyNotFound"}}
        try:
            work = self._aes if key == AES else self._rsa
            return 200, {"kid": key, **work(key, verb, body)}
        except (InvalidTag, ValueError):
            return 400, {"error": {"code": "BadParameter", "message": "secret words"}}

    def _public(self, key: str) -> tuple[int, Any]:
        if not self.tells_public_keys:
            return 403, {"error": {"code": "Forbidden"}}
        if key == AES:
            return 200, {"key": {"kid": key, "kty": "oct-HSM", "key_ops": []}, "attributes": {}}
        if key not in self.rsa:
            return 404, {"error": {"code": "KeyNotFound"}}
        numbers = self.rsa[key].public_key().public_numbers()
        n, e = (_encoded(x.to_bytes((x.bit_length() + 7) // 8)) for x in (numbers.n, numbers.e))
        ops = ["wrapKey", "unwrapKey", "sign", "verify"]
        whole = {"kid": key, "kty": "RSA", "key_ops": ops, "n": n, "e": e}
        return 200, {"key": whole, "attributes": {"enabled": True}}

    def _rsa(self, key: str, verb: str, body: dict[str, Any]) -> dict[str, Any]:
        mine = self.rsa[key]
        if verb == "verify":
            digest, signature = _decoded(body["digest"]), _decoded(body["value"])
            try:
                mine.public_key().verify(signature, digest, _PSS, _SHA)
            except InvalidSignature:
                return {"value": False}
            return {"value": True}
        value = _decoded(body["value"])
        made = {
            "wrapkey": lambda: mine.public_key().encrypt(value, _OAEP),
            "unwrapkey": lambda: mine.decrypt(value, _OAEP),
            "sign": lambda: mine.sign(value, _PSS, _SHA),
        }[verb]()
        return {"value": _encoded(made)}

    def _aes(self, _key: str, verb: str, body: dict[str, Any]) -> dict[str, Any]:
        value, bound = _decoded(body["value"]), _decoded(body["aad"])
        if verb == "encrypt":
            iv = os.urandom(12)
            made = self.aes.encrypt(iv, value, bound)
            return {
                "value": _encoded(made[:-16]),
                "iv": _encoded(iv),
                "tag": _encoded(made[-16:]),
                "aad": body["aad"],
            }
        made = self.aes.decrypt(_decoded(body["iv"]), value + _decoded(body["tag"]), bound)
        return {"value": _encoded(made)}


def _target(request: Any) -> tuple[str, str]:
    """The key of a request, and what it asks of it."""
    path = request.url.partition("?")[0].rstrip("/")
    if request.method == "GET":
        return path, "get"
    key, _, verb = path.rpartition("/")
    return key, verb


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
