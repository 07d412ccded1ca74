"""Answers as JSON, encoded once and fast."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.responses import JSONResponse

_encode = msgspec.json.Encoder(enc_hook=str).encode


class Reply(JSONResponse):
    """A JSON answer; FastAPI documents it as its route says, and passes it through unseen."""

    media_type = "application/json"

    def __init__(
        self, content: Any, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(content, status, headers)

    def render(self, content: Any) -> bytes:
        return _encode(content)
