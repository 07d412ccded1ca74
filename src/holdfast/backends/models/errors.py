"""The border to the model library: its errors become ours, without anybody's text or keys."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from holdfast.errors import (
    BadAnswerError,
    ConfigError,
    ModelError,
    ModelRefusedError,
    ModelUnavailableError,
)

if TYPE_CHECKING:
    from pydantic_ai import exceptions as theirs

_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
"""What a provider's error code looks like; anything else might be somebody's text."""


_CLOUDS = frozenset({"google", "botocore", "boto3"})
"""Libraries whose own errors come through when they find no credentials."""


@contextmanager
def translate(name: str) -> Iterator[None]:
    """Turn errors of the model library, its HTTP client and sockets into ours.

    `name` says which model failed. The cause is cut off on purpose: provider errors repeat
    requests, which hold users' text, and sometimes keys.
    """
    import httpx2
    from pydantic_ai import exceptions as theirs

    try:
        yield
    except theirs.ModelAPIError as error:
        raise _ours(error, name) from None
    except (TimeoutError, theirs.ModelRequestTimeout):
        raise ModelUnavailableError(f"{name} did not answer in time.").because("timeout") from None
    except theirs.UnexpectedModelBehavior:
        raise BadAnswerError(f"{name} answered in no form its API has.") from None
    except (httpx2.HTTPError, OSError) as error:
        kind = type(error).__name__
        raise ModelUnavailableError(f"the connection to {name} failed ({kind}).") from None
    except theirs.UserError:
        raise ConfigError(
            f"{name} cannot be used with these settings.",
            hint="Check the model's name and settings with its provider.",
        ) from None
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in _CLOUDS:
            raise
        kind = type(error).__name__
        refused = _refused(f"{name} cannot sign in ({kind}).", "Check the cloud's credentials.")
        raise refused.because("auth_failed") from None


def _ours(error: theirs.ModelAPIError, name: str) -> ModelError:
    """Waiting helps against load and broken connections, not against a refusal."""
    from pydantic_ai import exceptions as theirs

    said = _said(error)
    match error:
        case theirs.ModelRateLimitError():
            return _away(f"{name} limits the rate{said}.", error).because("rate_limited")
        case theirs.ModelQuotaExceededError():
            return _refused(f"{name}: the account has no credit left{said}.", "Check its billing.")
        case theirs.ModelAuthenticationError():
            refused = _refused(f"{name} refuses the credentials{said}.", "Check the API key.")
            return refused.because("auth_failed")
        case theirs.ModelNotFoundError():
            return _refused(
                f"{name} does not exist there{said}.", "Check the model's name and the base URL."
            )
        case theirs.ModelContextWindowExceededError():
            return _refused(f"{name} cannot take so long a request{said}.", "")
        case theirs.ModelTimeoutError():
            return _away(f"{name} did not answer in time{said}.", error).because("timeout")
        case theirs.ModelConnectionError():
            return _away(f"the connection to {name} failed.", error)
        case theirs.ModelHTTPError() if 400 <= error.status_code < 500 and not _passing(error):
            return _refused(f"{name} rejects the request{said}.", "")
    return _away(f"{name} is not available{said}.", error)


def _passing(error: theirs.ModelHTTPError) -> bool:
    """Request timeout, conflict and too early are said of the moment, not of the request."""
    return error.status_code in {408, 409, 425, 429}


def _away(message: str, error: theirs.ModelAPIError) -> ModelUnavailableError:
    return ModelUnavailableError(message, retry_after_s=error.retry_after)


def _refused(message: str, hint: str) -> ModelRefusedError:
    return ModelRefusedError(message, hint=hint)


def _said(error: theirs.ModelAPIError) -> str:
    """Status, code and parameter of a provider's error, in brackets: never its prose."""
    body: Any = error.body
    named = body.get("param") if isinstance(body, dict) else None
    status = getattr(error, "status_code", None)
    codes = (error.provider_error_code, error.provider_error_type, named)
    told = [f"HTTP {status}"] if status else []
    told += [code for code in codes if isinstance(code, str) and _IDENTIFIER.fullmatch(code)]
    return f" ({', '.join(dict.fromkeys(told))})" if told else ""
