"""Errors of Pinecone's client as ours."""

from __future__ import annotations

from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from holdfast.errors import ConfigError, IndexUnavailableError

T = TypeVar("T")


@contextmanager
def translated(name: str) -> Iterator[None]:
    """What goes wrong inside, as IndexUnavailableError or ConfigError; Pinecone's words, which may
    repeat what was sent, stay out of it."""
    from pinecone import errors

    try:
        yield
    except (errors.UnauthorizedError, errors.ForbiddenError) as error:
        raise ConfigError(
            f"{name} refuses the API key, or what it may do.",
            hint="Check index.config.api_key, its rights and the quota of its project.",
        ) from error
    except errors.PaymentRequiredError as error:
        raise ConfigError(
            f"{name} refuses because of the account's payment.", hint="See Pinecone's console."
        ) from error
    except errors.ApiError as error:
        raise _of_status(name, error.status_code, error.headers or {}) from error
    except (errors.PineconeValueError, errors.PineconeTypeError) as error:
        raise ConfigError(
            f"{name}: Pinecone's client refuses what it is given.",
            hint="Check index.config: url, api_key, region.",
        ) from error
    except errors.PineconeTimeoutError as error:
        raise IndexUnavailableError(f"{name} gave no answer in time.") from error
    except errors.PineconeError as error:
        raise IndexUnavailableError(
            f"{name} cannot be reached, or its answer makes no sense."
        ) from error


def _of_status(name: str, status: int, headers: dict[str, str]) -> Exception:
    if status in (404, 408, 409, 412, 429) or status >= 500:
        return IndexUnavailableError(
            f"{name} answered {status}.", retry_after_s=_seconds(headers.get("retry-after"))
        )
    return ConfigError(f"{name} refuses a request ({status}).", hint="See Pinecone's console.")


def _seconds(told: str | None) -> float | None:
    try:
        seconds = float(told or "")
    except ValueError:
        return None
    return seconds if 0.0 <= seconds < 86_400.0 else None


async def or_nothing(call: Awaitable[T]) -> T | None:
    """The answer; None from a namespace that is not there: a project without any point."""
    from pinecone.errors import NotFoundError

    try:
        return await call
    except NotFoundError as error:
        if "namespace" not in str(error.message).lower():
            raise
    return None
