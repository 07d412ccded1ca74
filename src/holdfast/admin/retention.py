"""The public face of retention: rules by which what is old is removed for good."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from holdfast import limits
from holdfast.core import verbs
from holdfast.core.retention import clean_rules
from holdfast.engine import retention as engine
from holdfast.engine.auditing import audited
from holdfast.engine.leasing import Lease
from holdfast.engine.parts import Parts
from holdfast.errors import ClosedError, HoldfastError
from holdfast.ports import IndexSource

_LEASE_S = 600.0
_log = logging.getLogger("holdfast.retention")


@audited(verbs.RETENTION, "retention.")
class Retention:
    """The rules of a deployment's projects; `AsyncAdmin.retention` gives it.

    Nothing is removed for its age unless a rule says so. Where a method takes `project`, None means
    the project of the configuration.
    """

    def __init__(
        self, parts: Callable[[str | None], Awaitable[Parts]], source: Callable[[], IndexSource]
    ) -> None:
        """`parts`: gives those of a project, opened; `source`: where the named numbers are."""
        self._parts = parts
        self._source = source

    async def rules(self, *, project: str | None = None) -> dict[str, float]:
        """The rules in force for a project: days by the names in `core.retention.RULES`. Of its own
        and those of the configuration, the shorter."""
        return await engine.rules(await self._parts(project))

    async def set(
        self, rules: Mapping[str, float | None], *, project: str | None = None
    ) -> dict[str, float]:
        """Set some rules, in days; None takes one away. All that hold from then on: those of the
        configuration do in any case.

        Raises ValidationError, NotFoundError.
        """
        return await engine.set_rules(await self._parts(project), clean_rules(rules))

    async def due(self, *, project: str | None = None) -> dict[str, int]:
        """How many rows are older than the rules allow, by rule; nothing is changed."""
        return await engine.due(await self._parts(project))

    async def run(self, *, project: str | None = None) -> dict[str, int]:
        """Remove what is older than the rules allow; how many rows, by rule. Raises StoreError."""
        return await engine.run(await self._parts(project))

    async def serve(self) -> None:
        """Keep every project to its rules until cancelled; one process at a time does."""
        parts = await self._parts(None)
        lease = Lease(self._source(), "retention", parts.clock, _LEASE_S)
        while True:
            try:
                if await lease.hold():
                    for project in await engine.projects_with_rules(parts):
                        await engine.run(await self._parts(project))
            except ClosedError:
                return  # the store is gone before its user
            except HoldfastError as error:
                _log.warning("what is old is not removed yet: %s", error.code)
            await asyncio.sleep(limits.RETENTION_POLL_S)
