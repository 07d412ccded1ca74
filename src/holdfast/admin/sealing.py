"""The public face of sealing: its status, sealing what is plain, rotating keys."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from holdfast.core import verbs
from holdfast.engine.auditing import audited
from holdfast.engine.parts import Parts
from holdfast.errors import UnsupportedError
from holdfast.model import OnProgress, unheard
from holdfast.ports.sealing import Resealed, Seals, SealStatus


@audited(verbs.SEALING, "seal.")
class Sealing:
    """The sealing of a deployment, of all its projects; `AsyncAdmin.sealing` gives it.

    Other processes go on meanwhile. Whatever is interrupted goes on where it was when it is called
    again. All raise UnsupportedError where no keyring is configured, KeyRingError, StoreError.
    """

    def __init__(self, parts: Callable[[], Awaitable[Parts]]) -> None:
        """`parts`: gives those of the deployment, opened."""
        self._parts = parts

    async def status(self) -> SealStatus:
        """How texts and vectors are sealed. Costs a scan of the store."""
        return await (await self._seals()).status()

    async def run(self, told: OnProgress | None = None) -> Resealed:
        """Seal every text and vector that is plain, or of an older key than its subject has.

        From then on what is not sealed is refused. `told`: how many rows are done, and of
        how many. Raises ConflictError while other processes write plain texts.
        """
        return await (await self._seals()).run(told or unheard)

    async def rotate_master(self, told: OnProgress | None = None) -> Resealed:
        """Wrap every data key with the keyring's first master key: older ones are not needed then.

        `told`: how many keys are done, and of how many.
        """
        return await (await self._seals()).rotate_master(told or unheard)

    async def rotate_keys(self, told: OnProgress | None = None) -> Resealed:
        """Give every subject a new data key, then seal all that is its own with it; as `run`."""
        return await (await self._seals()).rotate_keys(told or unheard)

    async def _seals(self) -> Seals:
        seals = (await self._parts()).seals
        if seals is None:
            raise UnsupportedError(
                "The texts of this store are not sealed.", hint="Configure `seal` first."
            )
        return seals
