"""Who lives where: the same on every machine, few moves, weights, pins."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from decimal import Decimal
from hashlib import blake2b
from itertools import pairwise

import pytest
from msgspec.structs import replace

from holdfast.core.sharding import (
    Pin,
    Placement,
    Plan,
    Shard,
    ShardMap,
    _heaviest,
    _key,
    decode,
    encode,
    home,
    placement,
)
from holdfast.errors import ConfigError
from holdfast.model import Entity, Project

ACME = Project("acme")
GOLDEN_EQUAL = "bacaabaccbbcacccbaba"
GOLDEN_WEIGHTED = "baccccccccccbccccabc"
GOLDEN_KEY = "315e49c8b4695cb3b0bdb82d04564c3a"
"""The shards of the users u0 to u19. If this changes, every deployment loses its memories' places:
change the code, not the values."""


def users(count: int) -> list[Entity]:
    return [Entity("user", f"u{number}") for number in range(count)]


def shards(*weights: int) -> list[Shard]:
    return [Shard(name=chr(97 + at), weight=weight) for at, weight in enumerate(weights)]


def owners(made: Placement, count: int) -> list[str]:
    return [made.owner(ACME, user) for user in users(count)]


def test_homes_are_where_they_were_in_every_version() -> None:
    assert "".join(owners(placement(shards(1, 1, 1), ()), 20)) == GOLDEN_EQUAL
    assert "".join(owners(placement(shards(1, 2, 4), ()), 20)) == GOLDEN_WEIGHTED
    assert _key(Project("p\u00e4"), Entity("user", "\U0001f600 \u0662")).hex() == GOLDEN_KEY
    program = (
        "from tests.unit.test_sharding import *;"
        "print(''.join(owners(placement(shards(1, 2, 4), ()), 20)))"
    )
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "LC_ALL": "C"}
        told = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, check=True
        )
        assert told.stdout.decode().strip() == GOLDEN_WEIGHTED


def test_the_key_of_a_home_is_of_its_parts_with_their_lengths() -> None:
    parts = b"holdfast home 1" + b"\0\0\0\4acme" + b"\0\0\0\4user" + b"\0\0\0\2u1"
    assert _key(ACME, Entity("user", "u1")) == blake2b(parts, digest_size=16).digest()
    assert _key(Project("a"), Entity("run", "bc")) != _key(Project("ab"), Entity("run", "c"))


def test_the_short_way_for_equal_weights_is_the_long_one() -> None:
    for user in users(300):
        key = _key(ACME, user)
        # a shard that never wins makes the weights unequal without changing anything
        light = [replace(shard, weight=10**9) for shard in shards(1, 1, 1)]
        assert _heaviest([*light, Shard(name="z", weight=1)], key) == _heaviest(light, key)


def test_shares_follow_the_weights() -> None:
    found = Counter(owners(placement(shards(1, 2, 4), ()), 3_500))
    for name, weight in {"a": 1, "b": 2, "c": 4}.items():
        assert abs(found[name] - 500 * weight) < 150, found


def test_only_those_move_that_a_shard_gets_or_had() -> None:
    three, four = (owners(placement(shards(*[1] * n), ()), 2_000) for n in (3, 4))
    moved = [(old, new) for old, new in zip(three, four, strict=True) if old != new]
    assert {new for _, new in moved} == {"d"}
    assert 400 < len(moved) < 600
    heavier = owners(placement(shards(1, 1, 3), ()), 2_000)
    assert {new for old, new in zip(three, heavier, strict=True) if old != new} == {"c"}


def test_pins_hold_users_projects_and_regions() -> None:
    made = placement(
        [
            Shard(name="eu-1", region="eu"),
            Shard(name="eu-2", region="eu"),
            Shard(name="us-1", region="us"),
        ],
        [
            Pin(user="de:*", region="eu"),
            Pin(project="bank", region="us"),
            Pin(user="de:moved", shard="us-1"),
            Pin(user="kim", project="acme", shard="eu-2"),
        ],
    )
    places = {made.owner(ACME, Entity("user", f"de:{n}")) for n in range(50)}
    assert places == {"eu-1", "eu-2"}
    assert made.owner(ACME, Entity("user", "de:moved")) == "us-1"
    assert made.owner(ACME, Entity("user", "kim")) == "eu-2"
    assert {made.owner(Project(f"p{n}"), Entity("user", "kim")) for n in range(50)} > {"eu-2"}
    assert {made.owner(Project("bank"), Entity("agent", f"a{n}")) for n in range(50)} == {"us-1"}
    assert made.owner(Project("bank"), Entity("user", "de:x")) != "us-1"
    assert {made.owner(ACME, Entity("run", f"de:{n}")) for n in range(50)} > {"us-1"}


@pytest.mark.parametrize(
    ("pin", "said"),
    [
        (Pin(user="kim"), "one of `shard` and"),
        (Pin(user="kim", shard="a", region="eu"), "one of `shard` and"),
        (Pin(shard="a"), "names a `user` or a `project`"),
        (Pin(user="kim", shard="nowhere"), "no shard that stays is 'nowhere'"),
        (Pin(user="kim", region="eu"), "no shard that stays is 'eu'"),
    ],
)
def test_pins_that_cannot_hold_are_refused(pin: Pin, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        placement(shards(1, 1), [pin])


def test_a_home_is_the_user_or_else_the_next_of_the_kinds() -> None:
    everyone = [Entity(kind, "x") for kind in ("run", "app", "user", "agent")]
    assert [home(everyone[:n]).kind for n in (1, 2, 3, 4)] == ["run", "app", "user", "user"]
    assert home([everyone[3], everyone[0]]).kind == "agent"


def test_a_map_goes_round_and_stays_what_it_is() -> None:
    old, new = placement(shards(1, 1), ()), placement(shards(1, 1, 1), ())
    at = ShardMap(before=old, after=old)
    seen = []
    for _ in range(4):
        at = at.next(new)
        seen.append(at.phase)
        assert decode(encode(at)) == at
    assert seen == ["copying", "switched", "cleaning", "settled"]
    assert at.before == at.after == new
    with pytest.raises(ConfigError, match="cannot be read"):
        decode(b"{}")


def test_neighbouring_phases_are_right_side_by_side() -> None:
    """What one instance writes another finds, one phase behind or ahead."""
    old, new = placement(shards(1, 1), ()), placement(shards(1, 1, 1), ())
    plans = []
    at = ShardMap(before=old, after=old)
    for _ in range(5):
        plans.append(Plan(at))
        at = at.next(new)
    for user in users(200):
        for first, second in pairwise(plans):
            for writer, reader in ((first, second), (second, first)):
                written = writer.writes(ACME, [user])
                assert reader.reads(ACME, user)[0] in written


def test_questions_without_a_user_ask_every_shard() -> None:
    made = placement(shards(1, 1, 1), ())
    plan = Plan(ShardMap(before=made, after=made))
    assert len(plan.reads(ACME, Entity("user", "kim"))) == 1
    for entity in (Entity("user", "*"), Entity("agent", "x"), Entity("run", "r")):
        assert plan.reads(ACME, entity) == ("a", "b", "c")


def test_decimal_logarithms_are_what_they_were() -> None:
    """The one thing of the library that places depend on."""
    from holdfast.core.sharding import _share

    assert _share(2**63, 3) == Decimal("4.328085122666890222418267758648209500436")
