"""A fake of Google Cloud KMS: its gRPC interface on a socket, for the vendor's own client.

Messages are those of Google's published protocol; what is behind them is AES-GCM with keys of the
tests.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from google.auth.credentials import AnonymousCredentials
from google.cloud import kms_v1
from google.cloud.kms_v1.services.key_management_service.transports import (
    KeyManagementServiceGrpcTransport,
)

from holdfast.core.seal import Place, seal, unseal
from holdfast.errors import CorruptError

_SERVICE = "google.cloud.kms.v1.KeyManagementService"
KEY = "projects/p/locations/global/keyRings/r/cryptoKeys/holdfast"
NEXT = "projects/p/locations/global/keyRings/r/cryptoKeys/next"


class CloudKms:
    """A server on a free port of this machine, and the requests that came."""

    def __init__(self) -> None:
        self.keys = {KEY: os.urandom(32), NEXT: os.urandom(32)}
        self.requests: list[Any] = []
        self.failure: grpc.StatusCode | None = None
        self._server = grpc.server(ThreadPoolExecutor(2, thread_name_prefix="cloud-kms"))
        handlers = {
            "Encrypt": grpc.unary_unary_rpc_method_handler(
                self._encrypt, kms_v1.EncryptRequest.deserialize, kms_v1.EncryptResponse.serialize
            ),
            "Decrypt": grpc.unary_unary_rpc_method_handler(
                self._decrypt, kms_v1.DecryptRequest.deserialize, kms_v1.DecryptResponse.serialize
            ),
        }
        known = grpc.method_handlers_generic_handler(_SERVICE, handlers)
        self._server.add_generic_rpc_handlers((known,))
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def client(self) -> Any:
        """Google's client, connected."""
        channel = grpc.insecure_channel(f"127.0.0.1:{self.port}")
        transport = KeyManagementServiceGrpcTransport(
            channel=channel, credentials=AnonymousCredentials()
        )
        return kms_v1.KeyManagementServiceClient(transport=transport)

    def close(self) -> None:
        self._server.stop(None).wait()

    def _asked(self, request: Any, context: grpc.ServicerContext) -> tuple[bytes, Place]:
        self.requests.append(request)
        if self.failure is not None:
            context.abort(self.failure, "secret words")
        if request.name not in self.keys:
            context.abort(grpc.StatusCode.NOT_FOUND, "CryptoKey not found")
        bound = request.additional_authenticated_data.hex()
        return self.keys[request.name], Place("p", "kms", "", bound)

    def _encrypt(self, request: Any, context: grpc.ServicerContext) -> Any:
        key, place = self._asked(request, context)
        sealed = seal(key, 1, os.urandom(12), place, bytes(request.plaintext))
        return kms_v1.EncryptResponse(name=f"{request.name}/cryptoKeyVersions/1", ciphertext=sealed)

    def _decrypt(self, request: Any, context: grpc.ServicerContext) -> Any:
        key, place = self._asked(request, context)
        try:
            return kms_v1.DecryptResponse(plaintext=unseal(key, place, bytes(request.ciphertext)))
        except CorruptError:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "Decryption failed: secret words")
