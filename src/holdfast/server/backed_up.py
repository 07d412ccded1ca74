"""How backups stand, looked up at most once a minute."""

from __future__ import annotations

import asyncio
import time

from holdfast.admin import AsyncAdmin
from holdfast.engine.backup_schedule import BackupStatus
from holdfast.limits import CENSUS_AGE_MAX_S


class BackedUp:
    """Remembers the last look."""

    def __init__(self, admin: AsyncAdmin) -> None:
        self._admin = admin
        self._asking = asyncio.Lock()
        self._last: BackupStatus | None = None
        self._at = 0.0

    async def status(self, age_max_s: float = CENSUS_AGE_MAX_S) -> BackupStatus:
        """How they stood lately. Raises BackupUnavailableError, StoreError."""
        async with self._asking:
            if self._last is None or time.monotonic() - self._at > age_max_s:
                self._last = await self._admin.backups.status()
                self._at = time.monotonic()
            return self._last
