"""Answers as JSON, encoded once and fast."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.responses import Response

_encode = msgspec.json.Encoder(enc_hook=str).encode


class Reply(Response):
    """A JSON answer; FastAPI passes it through without looking at it again."""

    media_type = "application/json"

    def __init__(
        self, content: Any, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(content, status, headers)

    def render(self, content: Any) -> bytes:
        return _encode(content)
