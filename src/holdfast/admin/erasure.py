"""The public face of erasure: forgetting a subject, and proving that it was forgotten."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import datetime

from holdfast import limits
from holdfast.core import intake, verbs
from holdfast.core.dossier import FORMATS
from holdfast.core.erasure import RECEIPT_FORM, mark_of, subject_entity
from holdfast.directory import Erasure
from holdfast.engine import dossier, receipts
from holdfast.engine import forget as engine
from holdfast.engine.auditing import audited
from holdfast.engine.forget import Elsewhere, OnCopy
from holdfast.engine.leasing import Lease
from holdfast.engine.parts import Parts
from holdfast.errors import ClosedError, ConflictError, HoldfastError, ValidationError
from holdfast.model import Entity, Json, Scope
from holdfast.ports import IndexSource

_LEASE_S = 60.0
_log = logging.getLogger("holdfast.erasure")


@audited(verbs.ERASURE, "erasure.")
class Erasures:
    """Erasure in a deployment's projects; `AsyncAdmin.erasure` gives it.

    A subject is exactly one user, agent, app or run. Where a method takes `project`, None means
    the project of the configuration.
    """

    def __init__(
        self,
        parts: Callable[[str | None], Awaitable[Parts]],
        elsewhere: Elsewhere,
        source: Callable[[], IndexSource],
    ) -> None:
        """`parts`: gives those of a project, opened; `elsewhere`: caches and backups;
        `source`: where the named numbers of the open deployment are."""
        self._parts = parts
        self._elsewhere = elsewhere
        self._source = source

    async def inventory(
        self,
        *,
        user_id: str | None = None,
        agent_id: str | None = None,
        app_id: str | None = None,
        run_id: str | None = None,
        project: str | None = None,
    ) -> dict[str, int]:
        """How many rows of each copy are the subject's; nothing is changed.

        Costs a scan of the project. Raises ValidationError, IndexUnavailableError.
        """
        entity = _entity(user_id, agent_id, app_id, run_id)
        return await engine.inventory(await self._parts(project), entity)

    async def forget(
        self,
        *,
        user_id: str | None = None,
        agent_id: str | None = None,
        app_id: str | None = None,
        run_id: str | None = None,
        project: str | None = None,
        told: OnCopy | None = None,
    ) -> Erasure:
        """Erase everything that is known of a subject; the erasure at its end, with the receipt.

        What it shares with others is erased too. One that was begun before is gone on with. While
        it lasts, what is written of the subject is refused with ConflictError.

        Args:
            told: is told of which copy how many rows are done, and how many there were.

        Raises ValidationError, ConflictError if something is left, and IndexUnavailableError,
        CacheUnavailableError or StoreError for what is away: it is RUNNING then, and goes on when
        it is called again, or by itself while a server or worker is up.
        """
        entity = _entity(user_id, agent_id, app_id, run_id)
        parts = await self._parts(project)
        return await self._ended(parts, await engine.begin(parts, entity), told)

    async def export(
        self,
        *,
        user_id: str | None = None,
        agent_id: str | None = None,
        app_id: str | None = None,
        run_id: str | None = None,
        form: str = "json",
        project: str | None = None,
    ) -> AsyncIterator[str]:
        """Everything that is known of a subject, as a document, piece by piece: memories in all
        their states, history, turns, quoted sources, jobs, the ledger, feedback, exports,
        messages to webhooks, keys and budgets that name it.

        `form`: "json", or "html": one page to read, without scripts. Raises ValidationError,
        StoreError.
        """
        if form not in FORMATS:
            raise ValidationError("form is unknown.", hint=f"Use {' or '.join(FORMATS)}.")
        entity = _entity(user_id, agent_id, app_id, run_id)
        async for piece in dossier.written(await self._parts(project), entity, form):
            yield piece

    async def resume(self, told: OnCopy | None = None) -> Sequence[Erasure]:
        """Go on with every erasure, of any project, whose process died; those, at their ends."""
        return await self._resumed(math.inf, told)

    async def _resumed(self, before: float, told: OnCopy | None) -> Sequence[Erasure]:
        ended = []
        for erasure in await engine.unfinished(await self._parts(None), before):
            parts = await self._parts(erasure.project)
            ended.append(await self._ended(parts, erasure, told))
        return ended

    async def status(self, erasure_id: str, *, project: str | None = None) -> Erasure:
        """An erasure as it stands. Raises NotFoundError."""
        return await engine.find(await self._parts(project), erasure_id)

    async def listed(
        self, *, page: int = 1, page_size: int = 100, project: str | None = None
    ) -> Sequence[Erasure]:
        """The erasures of a project, the newest first; whom they were of is not told."""
        size = intake.clean_count(page_size, "page_size", limits.PAGE_SIZE_MAX)
        offset = (intake.clean_count(page, "page", limits.PAGE_MAX) - 1) * size
        return await engine.listed(await self._parts(project), offset, size)

    async def public_key(self) -> str | None:
        """What receipts are verified with, base64; None where they are signed with a secret,
        because the package cryptography is not installed."""
        return (await receipts.signing_key(await self._parts(None))).public

    async def verify_receipt(
        self, receipt: Mapping[str, Json], *, subject: Mapping[str, str] | None = None
    ) -> bool:
        """Whether this deployment handed out exactly this receipt.

        `subject`: also whether it is of this one, such as {"user_id": "alice"}. Raises
        ValidationError for what is no receipt.
        """
        parts = await self._parts(None)
        if not await receipts.is_ours(parts, receipt):
            return False
        if subject is None:
            return True
        entity = subject_entity(Scope(**subject))
        mark = mark_of(parts.records.subjects_id, str(receipt.get("project")), entity)
        return mark == receipt.get("mark")

    async def reapply(
        self,
        given: Sequence[Mapping[str, Json]],
        *,
        public_key: str | None = None,
        told: OnCopy | None = None,
    ) -> Sequence[Erasure]:
        """Erase again who is there though erased: after a backup of before was restored.

        Whoever came back by himself stays.

        Args:
            given: receipts, beside the erasures that the store knows of.
            public_key: that of the receipts (base64), for a backup of before the first erasure,
                in which the deployment's own is not yet.

        Raises ValidationError for a receipt that is not of this deployment.
        """
        parts = await self._parts(None)
        known = await engine.all_done(parts)
        erased = [(one.mark, one.started_at) for one in known]
        for receipt in given:
            good = receipt.get("form") == RECEIPT_FORM and (
                await receipts.is_ours(parts, receipt)
                or (public_key is not None and receipts.is_signed_by(receipt, public_key))
            )
            if not good:
                raise ValidationError(
                    "A receipt is not of this deployment, or was changed; nothing was erased.",
                    hint="If the backup is older than the first erasure, name the public key too.",
                )
            begun = datetime.fromisoformat(receipt["started_at"])
            erased.append((receipt["mark"], begun.timestamp()))
        ended = []
        for project, entity in await engine.come_back(parts, erased):
            there = await self._parts(project)
            ended.append(await self._ended(there, await engine.begin(there, entity), told))
        return ended

    async def serve(self) -> None:
        """Go on with erasures whose process died, until cancelled; one process at a time does."""
        parts = await self._parts(None)
        lease = Lease(self._source(), "erasing", parts.clock, _LEASE_S)
        while True:
            quiet = parts.clock.now() - limits.ERASURE_QUIET_S
            try:
                if await engine.unfinished(parts, quiet) and await lease.hold():
                    await self._resumed(quiet, None)
                    await lease.release()
            except ClosedError:
                return  # the store is gone before its user
            except HoldfastError as error:
                _log.warning(
                    "erasures that have not ended are not gone on with yet: %s", error.code
                )
            await asyncio.sleep(limits.ERASURE_POLL_S)

    async def _ended(self, parts: Parts, erasure: Erasure, told: OnCopy | None) -> Erasure:
        ended = await engine.carry_out(parts, erasure, self._elsewhere, told or _nobody)
        if ended.state == "FAILED":
            left = ", ".join(f"{count} {name}" for name, count in ended.remains.items())
            raise ConflictError(
                f"The erasure {ended.id} left something: {left}.",
                hint="Stop what still writes of this subject, then forget it again.",
            )
        return ended


def _entity(
    user_id: str | None, agent_id: str | None, app_id: str | None, run_id: str | None
) -> Entity:
    given = {"user_id": user_id, "agent_id": agent_id, "app_id": app_id, "run_id": run_id}
    named = {name: intake.clean_id(id_, name) for name, id_ in given.items() if id_ is not None}
    return subject_entity(Scope(**named))


def _nobody(_copy: str, _done: int, _total: int) -> None:
    """Is told, and does not care."""
