"""How messages get to webhooks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from holdfast.model import Struct


class Sent(Struct, frozen=True, kw_only=True):
    """What became of one try."""

    status: int | None = None
    """Of the answer, if there was one."""
    error: str | None = None
    """Why it was not taken, without anything the other side said; None: it was taken."""
    final: bool = False
    """Whether trying again cannot help."""


class Sender(Protocol):
    """Sends to addresses that somebody else chose."""

    async def send(self, url: str, body: bytes, headers: Mapping[str, str]) -> Sent:
        """POST a body once. Whatever the network or the other side does is told, not raised.

        An answer of 200 to 299 takes it; redirects are not followed. Takes WEBHOOK_TIMEOUT_S at
        most. Unless made for private networks, it connects to no address that is not public
        (`core.addresses.is_public`), whatever the name's look-up says and however often it changes.
        """

    async def close(self) -> None:
        """Release connections. Idempotent."""
