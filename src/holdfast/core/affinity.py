"""Which instance a call had best go to: the same one for the same user."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

HEADER: Final = "x-holdfast-affinity"
"""Header a load balancer may hash. Any instance may answer any call; a user's working set is warm
where their last call went."""


def users_in(given: Mapping[str, Any]) -> Iterator[str]:
    """The users a call names outright, by argument or filter."""
    for place in (given, given.get("filters")):
        if isinstance(place, Mapping) and isinstance(place.get("user_id"), str):
            yield place["user_id"]


def affinity(given: Mapping[str, Any]) -> str | None:
    """A digest of the first user a call names: balancers and their logs learn no ids."""
    user = next(users_in(given), None)
    if user is None:
        return None
    return hashlib.blake2b(user.encode(errors="replace"), digest_size=8).hexdigest()
