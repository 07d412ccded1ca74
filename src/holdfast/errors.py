"""One tree of errors: each has a stable code, says what is wrong, where, and what to do next.

Messages never carry secrets or other people's text. `retryable` says whether the same call may
succeed later without a change by the caller.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self


class HoldfastError(Exception):
    """Base of every error Holdfast raises on purpose.

    Attributes:
        code: stable identifier, upper snake case.
        retryable: whether the same call may succeed later.
        hint: what to do next, or an empty string.
        retry_after_s: seconds to wait before trying again, if known.
    """

    code = "HOLDFAST_ERROR"
    retryable = False
    usual_hint = ""
    """The hint of an error that is raised without one."""

    def __init__(self, message: str, *, hint: str = "", retry_after_s: float | None = None) -> None:
        hint = hint or self.usual_hint
        super().__init__(f"{message} {hint}".strip())
        self.message = message
        self.hint = hint
        self.retry_after_s = retry_after_s


class ValidationError(HoldfastError, ValueError):
    """The call's input is wrong; nothing was changed."""

    code = "VALIDATION"


class FilterError(ValidationError):
    """A filter does not parse, is too deep, or names no entity positively."""

    code = "FILTER"
    usual_hint = 'Write it like {"user_id": "alice", "priority": {"gte": 2}}.'


class ConfigError(HoldfastError, ValueError):
    """A setting is unknown, missing or contradictory."""

    code = "CONFIG"


class MissingExtraError(ConfigError):
    """A chosen part needs an optional package that is not installed."""

    code = "MISSING_EXTRA"


class NotFoundError(HoldfastError, ValueError):
    """The named memory, job or entity does not exist in this project."""

    code = "NOT_FOUND"


class AuthenticationError(HoldfastError):
    """The credential is missing, malformed, unknown, expired or revoked."""

    code = "UNAUTHENTICATED"
    usual_hint = "Send a valid API key or token."


class AccessError(HoldfastError):
    """The credential is good, but does not allow this."""

    code = "FORBIDDEN"


class IssuerUnavailableError(HoldfastError):
    """The issuer of tokens is away, and its keys are not known: whose token it is, is open."""

    code = "ISSUER_UNAVAILABLE"
    retryable = True


class RateLimitError(HoldfastError):
    """Too many calls; `retry_after_s` says when the next one is welcome.

    Attributes:
        told: the limit, what remains of it and when it starts anew, as headers of an answer.
    """

    code = "RATE_LIMITED"
    retryable = True

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        retry_after_s: float | None = None,
        told: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, hint=hint, retry_after_s=retry_after_s)
        self.told: Mapping[str, str] = told or {}


class RequestTimeoutError(HoldfastError):
    """The request took too long to arrive; nothing was changed."""

    code = "REQUEST_TIMEOUT"
    retryable = True


class OverloadedError(HoldfastError):
    """The server has as much to do as it can; nothing was changed."""

    code = "OVERLOADED"
    retryable = True


class BudgetExceededError(HoldfastError):
    """A budget for calls of models has no room for what was asked; it was not asked.

    Attributes:
        at_limit: what the budget says of such calls: degrade or block.
    """

    code = "BUDGET_EXCEEDED"

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        retry_after_s: float | None = None,
        at_limit: str = "block",
    ) -> None:
        super().__init__(message, hint=hint, retry_after_s=retry_after_s)
        self.at_limit = at_limit


class ConflictError(HoldfastError):
    """The call contradicts an earlier one, e.g. an idempotency key with another body."""

    code = "CONFLICT"


class ReplayedError(HoldfastError):
    """The idempotency key is known: the add was accepted earlier, as job `job_id`."""

    code = "REPLAYED"

    def __init__(self, job_id: str) -> None:
        super().__init__(f"This add was accepted earlier as {job_id}.")
        self.job_id = job_id


class TooLargeError(ValidationError):
    """The input exceeds a limit of `holdfast.limits`."""

    code = "TOO_LARGE"


class EntityTooLargeError(ValidationError):
    """The search is among more memories than are ranked in one process (`view_rows_max`)."""

    code = "ENTITY_TOO_LARGE"


class StoreError(HoldfastError):
    """The record database cannot serve this call."""

    code = "STORE"


class StoreUnavailableError(StoreError):
    """The record database is locked, full or away; nothing was changed."""

    code = "STORE_UNAVAILABLE"
    retryable = True


class StoreReadOnlyError(StoreError):
    """The record database cannot be written by this process."""

    code = "STORE_READ_ONLY"


class CorruptError(StoreError):
    """Stored bytes are not what was written: not a Holdfast database, damaged, or tampered."""

    code = "CORRUPT"


class SchemaTooNewError(StoreError):
    """The database was written by a newer version of Holdfast."""

    code = "SCHEMA_TOO_NEW"


class SpaceMismatchError(ConfigError):
    """The configured embedder is not the one the stored vectors came from."""

    code = "SPACE_MISMATCH"


class IndexUnavailableError(HoldfastError):
    """The external index is away, slow or answers garbage; the records can do without it.

    Attributes:
        whole: False if only a part of it is, and questions that need others are answered.
    """

    code = "INDEX_UNAVAILABLE"
    retryable = True
    whole = True


class CacheUnavailableError(HoldfastError):
    """The shared cache cannot say whether something is allowed; nothing was taken."""

    code = "CACHE_UNAVAILABLE"
    retryable = True


class KeyRingError(HoldfastError):
    """The keeper of the master keys is away, refuses, or does not know the key."""

    code = "KEYRING"
    retryable = True


class BackupUnavailableError(HoldfastError):
    """Where backups are kept cannot be reached, is full, or refuses."""

    code = "BACKUP_UNAVAILABLE"
    retryable = True


class ClosedError(HoldfastError):
    """The memory was used after close()."""

    code = "CLOSED"


class ServerUnavailableError(HoldfastError):
    """The server a client talks to cannot be reached, or what answers there is no Holdfast."""

    code = "SERVER_UNAVAILABLE"
    retryable = True


class ServerTimeoutError(ServerUnavailableError, TimeoutError):
    """The server did not answer in time; whether it did what was asked is not known."""

    code = "SERVER_TIMEOUT"


class ModelError(HoldfastError):
    """A model (LLM or embedder) failed.

    Attributes:
        reason: auth_failed, rate_limited, timeout, unavailable, bad_request, or unknown.
        tried: whether the model had its chance: False if it was not asked, because it failed too
            often lately or has too much to do, or if its caller had no more time for it.
    """

    code = "MODEL"
    reason = "unknown"
    tried = True

    def because(self, reason: str) -> Self:
        """The same error, with its reason."""
        self.reason = reason
        return self


class ModelUnavailableError(ModelError):
    """The model's provider is away, slow or limits the rate."""

    code = "MODEL_UNAVAILABLE"
    retryable = True
    reason = "unavailable"


class ModelRefusedError(ModelError):
    """The model's provider refuses the call: credentials, rights, or an unknown model."""

    code = "MODEL_REFUSED"
    reason = "bad_request"


class BadAnswerError(ModelError):
    """The model answered with something that does not fit the schema, even after one repair.

    Attributes:
        usage: the tokens the answer cost all the same (`model.Usage`), if the provider told.
    """

    code = "BAD_ANSWER"
    retryable = True

    def __init__(self, message: str, *, hint: str = "", usage: Any = None) -> None:
        super().__init__(message, hint=hint)
        self.usage = usage


class UnsupportedError(HoldfastError, NotImplementedError):
    """The operation is not offered by this configuration."""

    code = "UNSUPPORTED"


LLMError = ModelError  # Mem0's name for it
