"""Holdfast: long-term memory for AI agents.

    from holdfast import Memory

    memory = Memory()
    memory.add("I am allergic to peanuts.", user_id="alice")
    memory.search("What must Alice not eat?", filters={"user_id": "alice"})

What is listed in `__all__` is public; everything else may change. `Memory`, `Client` and their
asynchronous forms are loaded when first asked for, so that importing the package stays cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from holdfast.deadline import time_limit
from holdfast.errors import (
    AccessError,
    AuthenticationError,
    BackupUnavailableError,
    BadAnswerError,
    BudgetExceededError,
    CacheUnavailableError,
    ClosedError,
    ConfigError,
    ConflictError,
    CorruptError,
    EntityTooLargeError,
    FilterError,
    HoldfastError,
    IndexUnavailableError,
    IssuerUnavailableError,
    KeyRingError,
    LLMError,
    MissingExtraError,
    ModelError,
    ModelRefusedError,
    ModelUnavailableError,
    NotFoundError,
    OverloadedError,
    RateLimitError,
    ReplayedError,
    RequestTimeoutError,
    SchemaTooNewError,
    ServerTimeoutError,
    ServerUnavailableError,
    SpaceMismatchError,
    StoreError,
    StoreReadOnlyError,
    StoreUnavailableError,
    TooLargeError,
    UnsupportedError,
    ValidationError,
)

if TYPE_CHECKING:
    from holdfast.admin import AsyncAdmin
    from holdfast.client import AsyncMemory
    from holdfast.core.grounding import mark_recalled
    from holdfast.remote.client import AsyncClient
    from holdfast.remote.sync import Client
    from holdfast.sync import Memory

__version__ = "0.1.0"

__all__ = [
    "AccessError",
    "AsyncAdmin",
    "AsyncClient",
    "AsyncMemory",
    "AuthenticationError",
    "BackupUnavailableError",
    "BadAnswerError",
    "BudgetExceededError",
    "CacheUnavailableError",
    "Client",
    "ClosedError",
    "ConfigError",
    "ConflictError",
    "CorruptError",
    "EntityTooLargeError",
    "FilterError",
    "HoldfastError",
    "IndexUnavailableError",
    "IssuerUnavailableError",
    "KeyRingError",
    "LLMError",
    "Memory",
    "MissingExtraError",
    "ModelError",
    "ModelRefusedError",
    "ModelUnavailableError",
    "NotFoundError",
    "OverloadedError",
    "RateLimitError",
    "ReplayedError",
    "RequestTimeoutError",
    "SchemaTooNewError",
    "ServerTimeoutError",
    "ServerUnavailableError",
    "SpaceMismatchError",
    "StoreError",
    "StoreReadOnlyError",
    "StoreUnavailableError",
    "TooLargeError",
    "UnsupportedError",
    "ValidationError",
    "__version__",
    "mark_recalled",
    "time_limit",
]

_LAZY = {
    "AsyncAdmin": "holdfast.admin",
    "AsyncClient": "holdfast.remote.client",
    "AsyncMemory": "holdfast.client",
    "Client": "holdfast.remote.sync",
    "Memory": "holdfast.sync",
    "mark_recalled": "holdfast.core.grounding",
}


def __getattr__(name: str) -> object:
    """Load a class that stands for a memory on first use."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """What there is to see, the lazy names included."""
    return sorted(set(globals()) | set(__all__))
