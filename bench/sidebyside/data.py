"""Deterministic chat turns and questions, the same for every contender and every run.

A turn is one to three short sentences in one person's world (the people, places and hobbies that
recur in it), drawn with Zipf weights: a few words are in most turns and most words in few, as in
real chats. Nothing is read from anywhere: words and grammar are in `vocabulary.py`.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

from sidebyside import vocabulary as words

SEED = 20_240_611
NAMES_COUNT = 20_000
WORLD_SIZE = 8
TURNS_PER_WORLD = 100
COMMON_WORDS = frozenset(
    "about again also and any are been before being book called can came could did from gave good "
    "has have help here hope into like more much need note noted people plan remember said seems "
    "should since sounds still talked tell that the then there this try was went when which will "
    "with worth would you your".split()
)

Query = tuple[int, str]
"""Index of the turn that the question was made from, and the question."""


class _Zipf:
    """Draws from a list so that the n-th item is about 1/n as likely as the first (Mandelbrot)."""

    def __init__(self, items: Sequence[str]) -> None:
        self._items = items
        weights = (1 / (rank + 2) for rank in range(1, len(items) + 1))
        self._cumulative = list(itertools.accumulate(weights))

    def draw(self, chance: random.Random) -> str:
        """One item, its hyphens turned into spaces."""
        item = chance.choices(self._items, cum_weights=self._cumulative)[0]
        return item.replace("-", " ")


_SLOTS = {
    "thing": _Zipf(words.THINGS),
    "adjective": _Zipf(words.ADJECTIVES),
    "feeling": _Zipf(words.FEELINGS),
    "time": _Zipf(words.TIMES),
    "job": _Zipf(words.JOBS),
    "pet": _Zipf(words.PETS),
    "illness": _Zipf(words.ILLNESSES),
    "food": _Zipf(words.FOODS),
    "food2": _Zipf(words.FOODS),
    "hobby": _Zipf(words.HOBBIES),
    "person": _Zipf(words.PEOPLE),
}
_WORLD_SLOTS = {
    "place": "name",
    "place2": "name",
    "name": "name",
    "venue": "name",
    "author": "name",
    "person": "person",
    "hobby": "hobby",
    "thing": "thing",
    "food": "food",
}


def _invented_names(chance: random.Random, count: int) -> list[str]:
    """Distinct made-up names of two or three syllables: the long tail of rare words."""
    found: dict[str, None] = {}
    while len(found) < count:
        syllables = (
            chance.choice(words.ONSETS) + chance.choice(words.NUCLEI) + chance.choice(words.CODAS)
            for _ in range(chance.choice((2, 2, 3)))
        )
        found["".join(syllables).capitalize()] = None
    return list(found)


def _world(chance: random.Random, names: _Zipf) -> dict[str, list[str]]:
    """What one person's turns keep coming back to: slot name to its few usual fillings."""
    world = {}
    for slot, kind in _WORLD_SLOTS.items():
        source = names if kind == "name" else _SLOTS[kind]
        world[slot] = [source.draw(chance) for _ in range(WORLD_SIZE)]
    return world


def _sentence(chance: random.Random, frame: str, world: dict[str, list[str]]) -> str:
    """The frame with its slots filled, mostly from the world, sometimes from the whole language."""
    values = {slot: source.draw(chance) for slot, source in _SLOTS.items()}
    for slot, usual in world.items():
        if slot not in values or chance.random() < 0.7:
            values[slot] = chance.choice(usual)
    values["number"] = str(chance.randint(2, 240))
    return frame.format_map(values)


def _turn(chance: random.Random, world: dict[str, list[str]]) -> str:
    frames = words.FRAMES if chance.random() < 0.7 else words.ANSWERS
    count = chance.choices((1, 2, 3), weights=(5, 3, 1))[0]
    sentences = [_sentence(chance, chance.choice(frames), world) for _ in range(count)]
    ended = [text[0].upper() + text[1:] + "." * (not text.endswith("?")) for text in sentences]
    return chance.choice(words.FILLERS) + " ".join(ended)


def make_turns(count: int, seed: int = SEED) -> Iterator[str]:
    """`count` distinct chat turns of one line each; the same for the same seed."""
    chance = random.Random(seed)
    names = _Zipf(_invented_names(chance, NAMES_COUNT))
    seen: set[str] = set()
    for index in range(count):
        if index % TURNS_PER_WORLD == 0:
            world = _world(chance, names)
        text = _turn(chance, world)
        while text in seen:
            text = _turn(chance, world)
        seen.add(text)
        yield text


def make_queries(turns: Sequence[str], sources: Sequence[int], seed: int = SEED) -> list[Query]:
    """One question for each source turn, of a few of its rarer words; none comes twice."""
    chance = random.Random(seed + 1)
    seen: set[str] = set()
    queries = []
    for source in sources:
        question = _question(chance, turns[source])
        while question in seen:
            question = _question(chance, turns[source]) + f" ({len(seen)})"
        seen.add(question)
        queries.append((source, question))
    return queries


def _question(chance: random.Random, turn: str) -> str:
    cleaned = [word.strip(".,?:'") for word in turn.split()]
    telling = [word for word in cleaned if len(word) > 2 and word.lower() not in COMMON_WORDS]
    chosen = sorted(chance.sample(range(len(telling)), min(len(telling), chance.randint(3, 5))))
    return chance.choice(words.QUESTIONS).format(words=" ".join(telling[i] for i in chosen))


def query_sources(total: int, per_user: int, rounds: int, seed: int = SEED) -> list[int]:
    """Turns to ask about: one of every user in a random order, then `rounds` of any user's.

    The first `total // per_user` are thus each user's first question, later ones are repeat visits.
    """
    chance = random.Random(seed + total)
    users = list(range(total // per_user))
    chance.shuffle(users)
    first = [user * per_user + chance.randrange(per_user) for user in users]
    return first + [chance.randrange(total) for _ in range(rounds)]


def write_turns(path: Path, count: int) -> list[str]:
    """Makes the turns, stores them one a line, and returns them."""
    turns = list(make_turns(count))
    path.write_text("\n".join(turns) + "\n", encoding="utf-8")
    return turns


def read_turns(path: Path, start: int, count: int) -> list[str]:
    """The lines `start` to `start + count` of a file made by `write_turns`.

    Raises:
        ValueError: the file holds fewer lines.
    """
    with path.open(encoding="utf-8") as lines:
        turns = [line.rstrip("\n") for line in itertools.islice(lines, start, start + count)]
    if len(turns) != count:
        raise ValueError(f"{path} has no {count} lines from line {start} on")
    return turns
