"""Sealing: how texts are sealed, to seal what is plain, to rotate keys."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from holdfast.cli import output
from holdfast.cli.access import done
from holdfast.cli.indexing import show, steps
from holdfast.cli.options import Common

if TYPE_CHECKING:
    from holdfast.admin import AsyncAdmin
    from holdfast.admin.sealing import Sealing
    from holdfast.model import OnProgress
    from holdfast.ports.sealing import Resealed, SealStatus

    Work = Callable[[Sealing, OnProgress], Awaitable[Resealed]]


def status(common: Common) -> None:
    """Show how texts and vectors are sealed, and what is still in the clear."""

    async def work(admin: AsyncAdmin) -> SealStatus:
        return await admin.sealing.status()

    show(common, output.fields_of(done(common, work)))


def run(common: Common) -> None:
    """Seal every text and vector that is in the clear, or sealed with an older key.

    Others may use the store meanwhile. Interrupted, it goes on where it was when started again.
    """
    _with_progress(common, "sealing", "rows", lambda sealing, told: sealing.run(told))


def rotate_master(common: Common) -> None:
    """Wrap every data key with the first master key of the keyring.

    Then the older master keys may be taken out of the keyring.
    """
    _with_progress(common, "wrapping", "keys", lambda sealing, told: sealing.rotate_master(told))


def rotate_keys(common: Common) -> None:
    """Give every subject a new data key, and seal its texts and vectors with it."""
    _with_progress(common, "sealing", "rows", lambda sealing, told: sealing.rotate_keys(told))


def _with_progress(common: Common, what: str, unit: str, work: Work) -> None:
    async def whole(admin: AsyncAdmin) -> Resealed:
        with output.progress(what, None, unit=unit, no_color=common.no_color) as advance:
            return await work(admin.sealing, steps(advance))

    show(common, output.fields_of(done(common, whole)))


GROUPS: dict[str, tuple[str, dict[str, Callable[..., None]]]] = {
    "seal": (
        "See how texts are sealed, seal what is in the clear, rotate keys.",
        {"status": status, "run": run, "rotate-master": rotate_master, "rotate-keys": rotate_keys},
    ),
}
"""Commands of two words: the first one, what it is about, and the second ones."""
