"""What the servers are asked: the same questions and turns, each in the server's own words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sidebyside.contender import TOP_K, Turn

Call = dict[str, Any]


def search(name: str, user: str, query: str) -> Call:
    """A search in one user's memories."""
    path = "/search" if name == "mem0" else "/v3/memories/search/"
    body = {"query": query, "filters": {"user_id": user}, "top_k": TOP_K}
    return {"kind": "search", "method": "POST", "path": path, "body": body}


def add(name: str, user: str, text: str, *, infer: bool) -> Call:
    """An add of one turn.

    With `infer` Holdfast answers as soon as the turn is safe, and the rest is a job; without, when
    the memory is stored.
    """
    path = "/memories" if name == "mem0" else "/v3/memories/add/"
    messages = [{"role": "user", "content": text}]
    body = {"messages": messages, "user_id": user, "infer": infer}
    return {"kind": "add", "method": "POST", "path": path, "body": body}


def forget(user: str) -> Call:
    """Holdfast's deletion of all of one user's memories."""
    path = f"/v1/memories/?user_id={user}"
    return {"kind": "delete", "method": "DELETE", "path": path, "body": None}


def mixed(name: str, asked: Sequence[Turn], turns: Sequence[Turn]) -> list[Call]:
    """Searches and adds by turns."""
    calls: list[Call] = []
    for (user, query), (other, text) in zip(asked, turns, strict=True):
        calls += [search(name, user, query), add(name, other, text, infer=False)]
    return calls


def churn(asked: Sequence[Turn], turns: Sequence[Turn], users: int) -> list[Call]:
    """Searches, adds and deletions that leave no more in the store than was there before.

    Each of a few users gets a turn, is asked, and in the end forgets everything.
    """
    calls: list[Call] = []
    for number, ((user, query), (_, text)) in enumerate(zip(asked, turns, strict=True)):
        passing = f"passing-{number % users}"
        calls += [search("holdfast", user, query), add("holdfast", passing, text, infer=False)]
        calls.append(search("holdfast", passing, query))
        if number % (8 * users) >= 7 * users:
            calls.append(forget(passing))
    return calls
