"""Which credential a call came with: told once at the border, written beside what the call costs.

It belongs to a context, as a request or a task has one. What a job does later is of the credential
that its payload names, whoever runs it.
"""

from __future__ import annotations

from contextvars import ContextVar

_key_id: ContextVar[str | None] = ContextVar("holdfast_credential", default=None)


def came_with(key_id: str | None) -> None:
    """From now on, in this context, calls are of this credential."""
    _key_id.set(key_id)


def current() -> str | None:
    """Id of the credential; None where nobody showed one, as in an embedded store."""
    return _key_id.get()
