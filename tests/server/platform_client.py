"""A client of the platform's routes whose every answer is held against the document."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from support.conformity import Conformity
from support.served import Served

_known: list[Conformity] = []


def _conformity(url: str) -> Conformity:
    """What the document says; the same for every server, and slow to write and to compile."""
    if not _known:
        _known.append(Conformity(httpx.get(f"{url}/openapi.json", timeout=60).json()))
    return _known[0]


@contextmanager
def talking(server: Served, key: str | None = None) -> Iterator[httpx.Client]:
    """Talks to a server as its administrator, or with a key."""
    headers = {"Authorization": f"Token {key or server.key}"}
    with httpx.Client(
        base_url=server.url,
        timeout=30,
        headers=headers,
        event_hooks={"response": [_conformity(server.url)]},
    ) as client:
        yield client


def added(client: httpx.Client, text: str, user_id: str = "ann", **more: Any) -> str:
    """The id of a memory that was just added."""
    body = {"messages": [{"role": "user", "content": text}], "user_id": user_id, "infer": False}
    answer = client.post("/v3/memories/add/", json={**body, **more})
    assert answer.status_code == 200, answer.text
    [item] = answer.json()["results"]
    return str(item["id"])


def texts(answer: httpx.Response) -> list[str]:
    """What the memories of an answer say."""
    assert answer.status_code == 200, answer.text
    body = answer.json()
    return [one["memory"] for one in (body if isinstance(body, list) else body["results"])]
