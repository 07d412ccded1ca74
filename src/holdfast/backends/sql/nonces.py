"""Random nonces, drawn many at a time.

A call of the system gives the interpreter's lock away, and where an event loop is busy a writer
gets it back late: once for many values is enough. No nonce is given twice, to no thread and to no
forked process.
"""

from __future__ import annotations

import os
from typing import Final

from holdfast.core.seal import NONCE_BYTES

_AT_ONCE: Final = 256

_drawn: list[bytes] = []


def nonce() -> bytes:
    """12 random bytes that nobody else got."""
    try:
        return _drawn.pop()  # one step: two threads never get the same
    except IndexError:
        raw = os.urandom(NONCE_BYTES * _AT_ONCE)
        first, *others = (raw[at : at + NONCE_BYTES] for at in range(0, len(raw), NONCE_BYTES))
        _drawn.extend(others)
        return first


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_drawn.clear)
