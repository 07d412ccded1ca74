"""A token bucket: what may be taken at a steady rate, with a bounded reserve.

Times are parameters, in seconds of any clock that does not go back.
"""

from __future__ import annotations

from holdfast.model import Struct


class Bucket(Struct, frozen=True):
    """What was in a bucket at a moment."""

    level: float
    at: float


def take(
    bucket: Bucket | None, now: float, amount: float, per_second: float, burst: float
) -> tuple[Bucket, float]:
    """The bucket afterwards, and 0.0 if `amount` was taken, else the seconds until it may be.

    It fills at `per_second` up to `burst`, and is full when it is new (None); nothing was taken if
    it must be waited for. `amount` is at most `burst`, else the wait never ends.
    """
    level = burst
    if bucket is not None:
        level = min(burst, bucket.level + max(0.0, now - bucket.at) * per_second)
    if level >= amount:
        return Bucket(level - amount, now), 0.0
    return Bucket(level, now), (amount - level) / per_second
