"""An OpenID Connect issuer on a real socket of this machine, with keys that can be changed."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

AUDIENCE = "holdfast-tests"


class Issuer:
    """Signs tokens; `requests` lists the paths that were asked for."""

    def __init__(self) -> None:
        self.keys: dict[str, Any] = {"one": rsa.generate_private_key(65_537, 2_048)}
        self.requests: list[str] = []
        self.url = ""
        self.metadata: dict[str, Any] = {}
        self.body: bytes | None = None
        """Sent in place of any document."""

    def jwks(self) -> dict[str, Any]:
        """The public halves of the keys."""
        return {"keys": [jwk(key) | {"kid": kid, "use": "sig"} for kid, key in self.keys.items()]}

    def document(self, path: str) -> Any:
        """What is at a path; None if nothing is."""
        if path == "/.well-known/openid-configuration":
            return {"issuer": self.url, "jwks_uri": f"{self.url}/keys", **self.metadata}
        return self.jwks() if path == "/keys" else None

    def claims(self, **other: Any) -> dict[str, Any]:
        """The claims of a good token; None takes one out."""
        now = int(time.time())
        made = {
            "iss": self.url,
            "aud": AUDIENCE,
            "sub": "somebody",
            "iat": now,
            "exp": now + 300,
            "holdfast_permissions": ["read", "write"],
            **other,
        }
        return {name: value for name, value in made.items() if value is not None}

    def token(self, kid: str = "one", algorithm: str = "RS256", **other: Any) -> str:
        """A token signed with one of the keys."""
        headers = {"kid": kid}
        return jwt.encode(self.claims(**other), self.keys[kid], algorithm, headers=headers)


def jwk(key: Any) -> dict[str, Any]:
    """The public half of a key as it stands in a set."""
    kinds: Mapping[type, Any] = {
        rsa.RSAPrivateKey: RSAAlgorithm,
        ec.EllipticCurvePrivateKey: ECAlgorithm,
        ed25519.Ed25519PrivateKey: OKPAlgorithm,
    }
    algorithm = next(found for kind, found in kinds.items() if isinstance(key, kind))
    return dict(algorithm.to_jwk(key.public_key(), as_dict=True))


@contextmanager
def issuing(issuer: Issuer, port: int = 0) -> Iterator[Issuer]:
    """Let an issuer answer; on leaving, it is away."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            issuer.requests.append(self.path)
            found = issuer.document(self.path)
            body = json.dumps(found).encode() if issuer.body is None else issuer.body
            self.send_response(200 if found is not None else 404)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            return None

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    issuer.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield issuer
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
