"""Random adds of trusted and untrusted turns: what is held is found through no face."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from holdfast.admin import AsyncAdmin
from holdfast.core import trust
from holdfast.engine import holding
from support import thorough

SEEDS = thorough.often(4, 60)
STEPS = 24
USERS = ("ann", "bob")
ROLES = ("user", "assistant", "tool")
_CANARY = re.compile(r"canary\d+x")


class World:
    """What is stored and what is held, of each user, by the canaries in the texts."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.said: dict[str, set[str]] = {user: set() for user in USERS}
        self.held: dict[str, tuple[str, set[str]]] = {}
        self.count = 0

    def message(self) -> tuple[dict[str, Any], bool]:
        """A message, and whether it is held."""
        self.count += 1
        role, marked = self.chance.choice(ROLES), self.chance.random() < 0.4
        said: dict[str, Any] = {"role": role, "content": f"tea canary{self.count}x"}
        if marked:
            said["trust"] = "untrusted"
        elif self.chance.random() < 0.3:
            said["trust"] = "trusted"
        return said, marked or role == "tool"


async def step(admin: AsyncAdmin, world: World) -> None:
    """One add, decision or deletion."""
    user, act = world.chance.choice(USERS), world.chance.random()
    if act < 0.6:
        await add(admin, world, user)
    elif act < 0.9 and world.held:
        held_id = world.chance.choice(sorted(world.held))
        await decide(admin, world, held_id, approving=act < 0.75)
    elif act > 0.96:
        await admin.memory().delete_all(user_id=user)
        world.said[user] = set()
        world.held = {id_: one for id_, one in world.held.items() if one[0] != user}


async def decide(admin: AsyncAdmin, world: World, held_id: str, *, approving: bool) -> None:
    """Let in, or throw away, what is held, or some messages of it."""
    whose, canaries = world.held.pop(held_id)
    row = await admin.quarantine.find(held_id)
    said = [str(one["text"]).split()[1] for one in row.messages]
    assert set(said) == canaries
    numbers = [number for number in range(1, len(said) + 1) if world.chance.random() < 0.4]
    meant = {said[number - 1] for number in numbers} or canaries
    if approving:
        answer = (await admin.quarantine.approve([held_id], messages=numbers))["results"][0]
        world.said[whose] |= meant
    else:
        answer = await admin.quarantine.reject([held_id], messages=numbers)
    assert ("rest" in answer) == (meant != canaries)
    if "rest" in answer:
        world.held[answer["rest"]] = (whose, canaries - meant)


async def add(admin: AsyncAdmin, world: World, user: str) -> None:
    talk = [world.message() for _ in range(world.chance.randint(1, 4))]
    every = world.chance.random() < 0.1
    given = {"trust": "untrusted"} if every else {}
    key = f"k{world.count}" if world.chance.random() < 0.3 else None
    answer = await admin.memory().add(
        [message for message, _ in talk], user_id=user, idempotency_key=key, **given
    )
    outcomes = [item["event"] for item in answer["results"]]
    assert outcomes == ["HELD" if every or held else "ADD" for _, held in talk]
    for item, (message, _) in zip(answer["results"], talk, strict=True):
        canary = message["content"].split()[1]
        if item["event"] == "HELD":
            world.held.setdefault(item["id"], (user, set()))[1].add(canary)
        else:
            world.said[user].add(canary)


async def shown(admin: AsyncAdmin, user: str) -> Mapping[str, set[str]]:
    """The canaries that each face shows of a user."""
    memory, mine = admin.memory(), {"user_id": user}
    every = (await memory.get_all(filters=mine, top_k=1000))["results"]
    found = await memory.search("tea canary", filters=mine, top_k=1000, threshold=0.0)
    pieces = [piece async for piece in admin.erasure.export(user_id=user)]
    dossier = json.loads("".join(pieces))
    ids = [one["id"] for one in every]
    histories = [await memory.history(id_) for id_ in ids]
    told: dict[str, Any] = {
        "get_all": every,
        "search": found,
        "history": histories,
        "summary": await admin.exports.summary(mine),
        **{name: dossier[name] for name in ("memories", "messages", "sources", "jobs")},
    }
    return {name: set(_CANARY.findall(json.dumps(one))) for name, one in told.items()}


async def look(admin: AsyncAdmin, world: World) -> None:
    """Compare every face with the model."""
    for user in USERS:
        held = {canary for whose, some in world.held.values() if whose == user for canary in some}
        faces = await shown(admin, user)
        for name, canaries in faces.items():
            assert not canaries & held, name
        assert faces["get_all"] == faces["search"] == faces["messages"] == world.said[user]
        assert await admin.memory().count({"user_id": user}) == len(world.said[user])
    page = await admin.quarantine.listed()
    assert {row.id for row in page.rows} == set(world.held)
    assert page.total == len(world.held) == (await admin.census()).held


async def run(path: Path, seed: int) -> World:
    policy = {"roles": {"tool": "untrusted"}}
    world = World(seed)
    async with AsyncAdmin({"path": str(path), "workers": 0, "trust": policy}) as admin:
        for _ in range(STEPS):
            await step(admin, world)
        await look(admin, world)
    return world


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_what_is_held_is_found_through_no_face(tmp_path: Path, seed: int) -> None:
    world = await run(tmp_path, seed)
    assert world.count > STEPS / 2


@pytest.mark.parametrize("fault", ["trusts messages", "trusts settings", "keeps both"])
async def test_a_planted_fault_is_seen(
    tmp_path: Path, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = trust.held_places

    def lax(said: Any, given: Any) -> Any:
        found = honest(said, given)
        reason = {"trusts messages": "message", "trusts settings": "configuration"}[fault]
        return {place: why for place, why in found.items() if set(why) != {reason}}

    async def keeping(parts: Any, request: Any) -> Any:
        _, held = await kept(parts, request)
        return (), held

    kept = holding.held_of
    if fault == "keeps both":
        monkeypatch.setattr(holding, "held_of", keeping)
    else:
        monkeypatch.setattr(holding, "held_places", lax)
    with pytest.raises(AssertionError):
        await run(tmp_path, 0)
