"""A client of the platform's routes whose every answer is held against the document."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from support.conformity import Conformity
from support.served import Served


@contextmanager
def talking(server: Served, key: str | None = None) -> Iterator[httpx.Client]:
    """Talks to a server as its administrator, or with a key."""
    document = httpx.get(f"{server.url}/openapi.json").json()
    headers = {"Authorization": f"Token {key or server.key}"}
    with httpx.Client(
        base_url=server.url, headers=headers, event_hooks={"response": [Conformity(document)]}
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
