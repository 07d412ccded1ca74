"""Faults in the parts of an open memory: its record store, call by call."""

from __future__ import annotations

import inspect
from typing import Any

from holdfast.engine.parts import Parts
from holdfast.ports import Directory, Jobs, Records
from holdfast.testing.faults import Fault

_NOT_CALLS = {"open", "close"}


class FaultyRecords:
    """Puts a fault before every call of a store and its directory, wherever they are held."""

    def __init__(self, parts: Parts) -> None:
        self.fault = Fault(0)
        for store, ports in ((parts.records, (Records, Jobs)), (parts.directory, (Directory,))):
            for name in {name for port in ports for name in vars(port)} - _NOT_CALLS:
                plain = getattr(store, name, None)
                if callable(plain) and not name.startswith("_"):
                    setattr(store, name, self._before(plain))

    def _before(self, plain: Any) -> Any:
        if inspect.iscoroutinefunction(plain):

            async def awaited(*args: Any, **more: Any) -> Any:
                return await self.fault.awaited(plain(*args, **more))

            return awaited
        return lambda *args, **more: self.fault.called(lambda: plain(*args, **more))

    def from_call(self, number: int, error: Any) -> Fault:
        """Fail from this call on, counted from now; 0 is never."""
        self.fault = Fault(number, lasting=True, error=error)
        return self.fault
