"""How the texts and vectors of a store are sealed, and work on all of them."""

from __future__ import annotations

from typing import Protocol

from holdfast.model import OnProgress, Struct


class SealStatus(Struct, frozen=True, kw_only=True):
    """How the texts and vectors of a store are sealed."""

    whole: bool
    """Whether every text and vector is sealed; one that is not is refused from then on."""
    plain: int
    """Texts that are stored in the clear still."""
    plain_vectors: int
    """Vectors that are."""
    master: str
    """Name of the master key that wraps from now on."""
    keys: int
    """Data keys."""
    old_master: int
    """Of them, those that an older master key wrapped."""
    destroyed: int
    """Subjects' keys that were destroyed."""


class Resealed(Struct, frozen=True, kw_only=True):
    """What became of the texts and vectors of a store."""

    keys: int = 0
    """Data keys that were made or wrapped anew."""
    texts: int = 0
    """Texts that were sealed anew."""
    vectors: int = 0
    """Vectors that were."""


class Seals(Protocol):
    """Work on all that is sealed in a store, of all projects, while it is used.

    Whatever is interrupted goes on where it was when it is called again. All raise KeyRingError,
    CorruptError, StoreError.
    """

    async def status(self) -> SealStatus:
        """How they are sealed. Costs a scan of the store."""

    async def run(self, told: OnProgress) -> Resealed:
        """Seal what is plain, or sealed with an older key than its subject has."""

    async def rotate_master(self, told: OnProgress) -> Resealed:
        """Wrap every data key with the primary master key: older ones are not needed then."""

    async def rotate_keys(self, told: OnProgress) -> Resealed:
        """Give every subject a new data key, then `run`. Older keys are kept: a process may seal
        with them until it is started again."""
