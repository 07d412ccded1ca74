"""What a store of a drill holds, and all that it tells of it."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator
from typing import Any

from holdfast.admin import AsyncAdmin

WORDS = (
    "bees tea rum kent dog garden rain train piano violin bread cheese snow river boat lamp candle "
    "harbour museum bicycle grandmother dentist marathon saffron lighthouse orchard telescope "
    "quilt chess glacier volcano umbrella passport recipe guitar sparrow mountain library bakery"
).split()
KINDS = (
    "amber brass copper cedar crimson dusty early foggy gilded hollow ivory jagged linen lunar "
    "marble misty narrow oaken paper quiet rusty salty silver stolen sunny tiny velvet woven young"
).split()
TURNS_AT_ONCE = 200
HEAVY = 10
"""Every so manieth question is about the first user, who has a tenth of all memories."""
START = 1_700_000_000.0
"""Of the first turn, epoch seconds."""


def said(no: int) -> str:
    """A sentence of four things, of a thousand there are, and a number that no other has."""
    seen = [thing(random.Random(4 * no + place)) for place in range(4)]
    return f"On trip {no} I saw the {', the '.join(seen[:-1])} and a {seen[-1]}."


def thing(chance: random.Random) -> str:
    """One word, as rare as most words are."""
    return chance.choice(KINDS) + chance.choice(WORDS)


def name(user: int) -> str:
    return f"user{user}"


def shares(memories: int, users: int) -> Iterator[tuple[int, range]]:
    """Numbers of memories for each user: as many for all, and a tenth of all for the first."""
    heavy = memories // 10
    yield 0, range(heavy)
    each, at = (memories - heavy) // max(1, users - 1), heavy
    for user in range(1, users):
        end = memories if user == users - 1 else at + each
        yield user, range(at, end)
        at = end


async def fill(admin: AsyncAdmin, memories: int, users: int) -> None:
    """Turns of all users; of some there are metadata, changes and deletions."""
    memory = admin.memory()
    for user, numbers in shares(memories, users):
        for start in range(numbers.start, numbers.stop, TURNS_AT_ONCE):
            some = range(start, min(start + TURNS_AT_ONCE, numbers.stop))
            turns = [{"role": "user", "content": said(no)} for no in some]
            told = {"metadata": {"tour": user % 7}} if user % 3 == 0 else {}
            at = int(START + 600 * start)
            await memory.add(turns, user_id=name(user), infer=False, timestamp=at, **told)


async def change(admin: AsyncAdmin, users: int, step: int) -> None:
    """Change a memory of every `step`-th user, delete another, add one in another project."""
    memory = admin.memory()
    for user in range(0, users, step):
        page = await memory.get_all(filters={"user_id": name(user)}, top_k=2)
        first, last = page["results"][0]["id"], page["results"][-1]["id"]
        await memory.update(first, f"In the end I liked the {WORDS[user % len(WORDS)]}.")
        if last != first:
            await memory.delete(last)
        await admin.memory("second").add(said(user), user_id=name(user), infer=False)


async def pages(admin: AsyncAdmin, users: int) -> dict[str, str]:
    """A digest of all that each user's memories are, as they are listed."""
    found = {}
    for user in range(users):
        whole: list[Any] = []
        cursor = None
        while cursor or not whole:
            whose = {"user_id": name(user)}
            page = await admin.memory().get_all(filters=whose, top_k=1_000, cursor=cursor)
            whole += page["results"]
            cursor = page["cursor"]
        found[name(user)] = _digest(whole)
    return found


async def pasts(admin: AsyncAdmin, users: int, count: int) -> list[str]:
    """Histories of a memory of some users, of changed ones among them."""
    found = []
    for user in range(0, users, max(1, users // count)):
        page = await admin.memory().get_all(filters={"user_id": name(user)}, top_k=1)
        found.append(_digest([await admin.memory().history(one["id"]) for one in page["results"]]))
    return found


Hit = tuple[str, str, float]
"""Id, text and score."""


async def answers(admin: AsyncAdmin, users: int, count: int) -> list[list[Hit]]:
    """Ids, texts and scores that are found for some hundreds of questions."""
    chance, found = random.Random(20261126), []
    for number in range(count):
        user = 0 if number % HEAVY == 0 else chance.randrange(1, users)
        things = [thing(chance) for _ in range(chance.randrange(1, 4))]
        asked = f"{' and '.join(things)} {number}"
        question = f"When did I see the {asked}?" if number % 2 else asked
        told = await admin.memory().search(question, filters={"user_id": name(user)}, top_k=10)
        assert "degraded" not in told, told["degraded"]
        found.append(
            [(hit["id"], hit["memory"], round(hit["score"], 6)) for hit in told["results"]]
        )
    return found


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
