"""Errors of Weaviate's client as ours."""

from __future__ import annotations

from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

from holdfast.errors import ConfigError, HoldfastError, IndexUnavailableError

T = TypeVar("T")

_REFUSED: Final = frozenset({"UNAUTHENTICATED", "PERMISSION_DENIED"})


@contextmanager
def translated(name: str) -> Iterator[None]:
    """What goes wrong inside, as IndexUnavailableError or ConfigError; Weaviate's words, which may
    repeat what was sent, stay out of it."""
    import httpx
    from pydantic import ValidationError
    from weaviate import exceptions

    try:
        yield
    except exceptions.InsufficientPermissionsError as error:
        raise _refused(name) from error
    except exceptions.UnexpectedStatusCodeError as error:
        raise _of_status(name, error.status_code) from error
    except exceptions.AuthenticationFailedError as error:
        raise _refused(name) from error
    except exceptions.WeaviateStartUpError as error:
        if "is not supported" in str(error):
            raise ConfigError(
                f"{name} is too old for its client.", hint="Weaviate 1.27 or newer is needed."
            ) from error
        raise IndexUnavailableError(f"{name} cannot be reached.") from error
    except (exceptions.WeaviateQueryError, exceptions.WeaviateBatchError) as error:
        raise _of_code(name, error) from error
    except (exceptions.WeaviateInvalidInputError, ValidationError) as error:
        raise ConfigError(
            f"{name}: Weaviate's client refuses what it is given.", hint="Check index.config."
        ) from error
    except (exceptions.WeaviateBaseError, httpx.HTTPError) as error:
        raise IndexUnavailableError(
            f"{name} cannot be reached, or its answer makes no sense."
        ) from error
    except (KeyError, ValueError, TypeError, AttributeError, AssertionError) as error:
        # the client takes any JSON for an answer and fails where it uses it
        if isinstance(error, HoldfastError):
            raise
        raise IndexUnavailableError(f"{name} gave an answer that makes no sense.") from error


def _refused(name: str) -> ConfigError:
    return ConfigError(
        f"{name} refuses the API key, or what it may do.",
        hint="Check index.config.api_key and the rights of its user.",
    )


def _of_status(name: str, status: int) -> HoldfastError:
    if status in (401, 403):
        return _refused(name)
    if status in (404, 408, 429) or status >= 500:
        return IndexUnavailableError(f"{name} answered {status}.")
    return ConfigError(f"{name} refuses a request ({status}).", hint="See Weaviate's own log.")


def _of_code(name: str, error: Exception) -> HoldfastError:
    """Of a gRPC call: the client keeps the status only in what its error came from."""
    code = _code(error)
    if code in _REFUSED:
        return _refused(name)
    if code == "INVALID_ARGUMENT":
        return ConfigError(f"{name} refuses a query.", hint="See Weaviate's own log.")
    return IndexUnavailableError(f"{name} failed ({code or 'no status'}).")


def _code(error: BaseException) -> str:
    cause = error.__cause__ or error.__context__
    code = getattr(cause, "code", None)
    return str(code().name) if callable(code) else ""


async def or_nothing(call: Awaitable[T]) -> T | None:
    """The answer; None from a tenant that is not there: a project without any point."""
    from weaviate.exceptions import WeaviateBaseError

    try:
        return await call
    except WeaviateBaseError as error:
        said = str(error).lower()
        if not ("tenant" in said and "not found" in said):
            raise
    return None
