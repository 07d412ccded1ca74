"""The border to qdrant-client: a server, or its local mode, and what their errors mean."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

import grpc
import httpx
import portalocker
import pydantic
from qdrant_client import AsyncQdrantClient
from qdrant_client.common.client_exceptions import QdrantException, ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse
from qdrant_client.local.async_qdrant_local import AsyncQdrantLocal

from holdfast.backends.qdrant.settings import QdrantSettings, address
from holdfast.errors import ClosedError, ConfigError, HoldfastError, IndexUnavailableError

T = TypeVar("T")
Operation = Callable[[AsyncQdrantClient], Awaitable[T]]

_PASSING: Final = frozenset({408, 423, 425, 429})
"""Refusals of the moment, not of the request."""
_GRPC_REFUSED: Final = frozenset({"UNAUTHENTICATED", "PERMISSION_DENIED"})
_GRPC_WRONG: Final = frozenset(
    {"INVALID_ARGUMENT", "FAILED_PRECONDITION", "OUT_OF_RANGE", "UNIMPLEMENTED"}
)


class MissingError(Exception):
    """There is no such collection."""


class ExistsError(Exception):
    """There is such a collection already."""


class Connection(Protocol):
    """Carries operations to Qdrant. `local`: it has no server, hence no indexes, no replicas."""

    local: bool

    async def run(self, operation: Operation[T], timeout_s: float) -> T:
        """What the operation gives. Raises the port's errors, MissingError, ExistsError."""

    async def close(self) -> None:
        """Release what is held. Idempotent; nothing runs any more."""


def connect(settings: QdrantSettings, name: str) -> Connection:
    """The connection that is configured; `name` tells which index an error is about."""
    if settings.path is not None:
        return LocalConnection(settings.path, name)
    return ServerConnection(settings, name)


class ServerConnection:
    """A server, cloud or cluster. Nobody else is asked: the check of versions is off."""

    local = False

    def __init__(self, settings: QdrantSettings, name: str) -> None:
        self._name = name
        self._closed = False
        most = settings.connections_max
        key = settings.api_key
        self._client = AsyncQdrantClient(
            url=address(settings),
            port=settings.port,
            grpc_port=settings.grpc_port,
            prefer_grpc=settings.prefer_grpc,
            # as a header: given as a key, the client itself chooses between http and https
            headers=None if key is None else {"api-key": key},
            timeout=max(1, round(settings.timeout_s * 10)),
            check_compatibility=False,
            limits=httpx.Limits(max_connections=most, max_keepalive_connections=most),
        )

    async def run(self, operation: Operation[T], timeout_s: float) -> T:
        if self._closed:
            raise closed()
        try:
            with translate(self._name):
                async with asyncio.timeout(timeout_s):
                    return await operation(self._client)
        except RuntimeError:
            if self._closed:  # meanwhile
                raise closed() from None
            raise

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            await self._client.close()


@dataclass
class _Folder:
    """A local store of this process, and how many connections use it."""

    place: str
    client: AsyncQdrantClient
    thread: ThreadPoolExecutor
    users: int = 1


_folders: dict[str, _Folder] = {}
_folders_lock: Final = threading.Lock()
"""qdrant-client locks a folder against everybody, this process included: it is opened once."""


class LocalConnection:
    """qdrant-client's own store in a folder, or in memory. It blocks, so it has a thread."""

    local = True

    def __init__(self, path: str, name: str) -> None:
        self._path = path
        self._name = name
        self._folder: asyncio.Task[_Folder] | None = None
        self._closed = False

    async def run(self, operation: Operation[T], timeout_s: float) -> T:
        if self._closed:
            raise closed()
        try:
            with translate(self._name):
                async with asyncio.timeout(timeout_s):
                    return await self._carried(operation)
        except RuntimeError:
            if self._closed:  # meanwhile
                raise closed() from None
            raise

    async def _carried(self, operation: Operation[T]) -> T:
        folder = await self._opened()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(folder.thread, _driven, operation, folder.client)

    async def _opened(self) -> _Folder:
        """The store. Opening goes on when a caller gives up, so that it can be given back."""
        if self._folder is None:
            self._folder = asyncio.create_task(asyncio.to_thread(_take, self._path))
        opening = self._folder
        await asyncio.wait([opening])
        if opening.exception() is not None and self._folder is opening:
            self._folder = None
        if self._closed:
            raise closed()
        return opening.result()

    async def close(self) -> None:
        self._closed = True
        opening, self._folder = self._folder, None
        if opening is not None:
            await asyncio.wait([opening])
            if opening.exception() is None:
                await asyncio.to_thread(_give_back, opening.result())


def _take(path: str) -> _Folder:
    """The store of a path; in memory each connection has its own."""
    if path == ":memory:":
        return _made(path, {"location": path})
    place = str(Path(path).resolve())
    with _folders_lock:
        known = _folders.get(place)
        if known is not None:
            known.users += 1
            return known
        _check_free(place)
        _folders[place] = _made(place, {"path": place})
        return _folders[place]


def _check_free(place: str) -> None:
    """Raises LockException if another process has the folder: the client would tell so too, but
    leave the file open."""
    lock = Path(place, ".lock")
    if lock.exists():
        with lock.open("r+") as file:
            how = portalocker.LockFlags.EXCLUSIVE | portalocker.LockFlags.NON_BLOCKING
            portalocker.lock(file, how)
            portalocker.unlock(file)


def _made(place: str, where: dict[str, str]) -> _Folder:
    thread = ThreadPoolExecutor(1, thread_name_prefix="holdfast-qdrant")
    try:
        client = thread.submit(lambda: AsyncQdrantClient(**where)).result()  # type: ignore[arg-type]
    except BaseException:
        thread.shutdown()
        raise
    return _Folder(place, client, thread)


def _give_back(folder: _Folder) -> None:
    with _folders_lock:
        folder.users -= 1
        if folder.users:
            return
        _folders.pop(folder.place, None)
        folder.thread.submit(_driven, _close, folder.client).result()
        folder.thread.shutdown()


async def _close(client: AsyncQdrantClient) -> None:
    await client.close()


def _driven(operation: Operation[T], client: AsyncQdrantClient) -> T:
    """What an operation of the local client gives: it never waits, so it needs no loop."""
    running: Any = operation(client)
    coroutine: Coroutine[Any, Any, T] = running
    try:
        coroutine.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    coroutine.close()
    raise RuntimeError("qdrant-client's local mode waited for something.")


async def drop(client: AsyncQdrantClient, collection: str) -> None:
    """Delete a collection. The local mode would leave its file open."""
    local = client._client
    if isinstance(local, AsyncQdrantLocal) and collection in local.collections:
        local.collections[collection].close()
    await client.delete_collection(collection)


def closed() -> ClosedError:
    """The error for calls after `close`."""
    return ClosedError("The Qdrant index is closed.")


@contextmanager
def translate(name: str) -> Iterator[None]:
    """Turn errors of the client, of HTTP and gRPC into ours.

    The cause is cut off on purpose: it repeats what was sent, and answers.
    """
    try:
        yield
    except (HoldfastError, MissingError, ExistsError):
        raise
    except (grpc.aio.AioRpcError, TimeoutError) as error:
        code = "DEADLINE_EXCEEDED" if isinstance(error, TimeoutError) else error.code().name
        raise _of_code(name, code, "" if code != "INVALID_ARGUMENT" else str(error)) from None
    except (UnexpectedResponse, ResponseHandlingException, QdrantException) as error:
        raise _of_client(name, error) from None
    except (httpx.HTTPError, OSError, sqlite3.Error, grpc.aio.UsageError) as error:
        raise _away(name, f"cannot be reached ({type(error).__name__})") from None
    except portalocker.LockException:
        raise _occupied(name) from None
    except ValueError as error:
        raise _of_value(name, error) from None
    except (AssertionError, AttributeError, KeyError, RecursionError, TypeError) as error:
        # the client looks into answers without checking that they have what it looks for
        raise _garbage(name, error) from None


def _of_client(name: str, error: Exception) -> Exception:
    match error:
        case UnexpectedResponse():
            wait_s = _seconds(error.headers.get("retry-after"))
            return _of_status(name, error.status_code or 0, wait_s)
        case ResponseHandlingException():
            return _of_source(name, error.source)
        case ResourceExhaustedResponse():
            return _away(name, "limits the rate", error.retry_after_s)
    return _away(name, "limits the rate")  # until a moment it writes in another form


def _of_status(name: str, status: int, retry_after_s: float | None) -> Exception:
    if status in (401, 403):
        return _refused(name, f"HTTP {status}")
    if status == 404:
        return MissingError()
    if status == 409:
        return ExistsError()
    if status == 413:
        return _wrong(name, "HTTP 413: too large", "Lower index.config.batch_bytes_max.")
    if 300 <= status < 500 and status not in _PASSING:
        return _wrong(name, f"HTTP {status}", "Check index.config against the server.")
    if status == 429:
        return _away(name, "limits the rate", retry_after_s)
    return _away(name, f"is not available (HTTP {status})", retry_after_s)


def _of_source(name: str, source: Exception) -> HoldfastError:
    if isinstance(source, httpx.TimeoutException):
        return _away(name, "did not answer in time")
    if isinstance(source, httpx.UnsupportedProtocol | httpx.InvalidURL):
        return _wrong(name, type(source).__name__, "Check index.config.url.")
    if isinstance(source, httpx.HTTPError | OSError):
        return _away(name, f"cannot be reached ({type(source).__name__})")
    if isinstance(source, pydantic.ValidationError | UnicodeError):
        return _garbage(name, source)
    if isinstance(source, ValueError):
        # the request itself has no form on the wire
        return _wrong(name, type(source).__name__, "Check the vectors and ids.")
    return _away(name, f"cannot be reached ({type(source).__name__})")


def _of_code(name: str, code: str, said: str) -> Exception:
    """Of gRPC. What exists already is a wrong argument to some versions, told in words."""
    if code in _GRPC_REFUSED:
        return _refused(name, code)
    if code == "NOT_FOUND":
        return MissingError()
    if code == "ALREADY_EXISTS" or "already exists" in said:
        return ExistsError()
    if code in _GRPC_WRONG:
        return _wrong(name, code, "Check index.config against the server.")
    if code == "DEADLINE_EXCEEDED":
        return _away(name, "did not answer in time")
    return _away(name, f"is not available ({code})")


def _of_value(name: str, error: ValueError) -> Exception:
    """Of the local mode, which tells all in one kind of error, and of unreadable answers."""
    said = str(error)
    if said.startswith("Collection ") and said.endswith(" not found"):
        return MissingError()
    if said.startswith("Collection ") and said.endswith(" already exists"):
        return ExistsError()
    return _garbage(name, error)


def _seconds(header: str | None) -> float | None:
    """Of a Retry-After header; its other form, a date, is not used by Qdrant."""
    return float(header) if header is not None and header.strip().isdecimal() else None


def _away(name: str, what: str, retry_after_s: float | None = None) -> IndexUnavailableError:
    return IndexUnavailableError(f"The index {name} {what}.", retry_after_s=retry_after_s)


def _garbage(name: str, error: Exception) -> IndexUnavailableError:
    kind = type(error).__name__
    return _away(name, f"answered in no form its API has ({kind})")


def _refused(name: str, what: str) -> ConfigError:
    return ConfigError(
        f"The index {name} refuses the credentials ({what}).",
        hint="Check index.config.api_key and its rights: it must read, write and manage.",
    )


def _wrong(name: str, what: str, hint: str) -> ConfigError:
    return ConfigError(f"The index {name} refuses the request ({what}).", hint=hint)


def _occupied(name: str) -> ConfigError:
    return ConfigError(
        f"The index {name} is in a folder that another process has open.",
        hint="Qdrant's local mode serves one process; start a Qdrant server and set url.",
    )
