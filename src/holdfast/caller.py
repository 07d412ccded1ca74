"""Warnings that point to the line of whoever called into Holdfast.

Python shows a deprecation to the author of that line only, and once for each line. Through the
blocking face the line is on another thread than the work; nothing is done for that until there is
something to warn of.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from types import FrameType

_PACKAGE = __name__.partition(".")[0]
_BLOCKING = frozenset({f"{_PACKAGE}.sync", f"{_PACKAGE}.remote.sync"})
WORK = "work"
"""Name under which a method of the blocking face keeps the coroutine it waits for."""


def warn(message: str, category: type[Warning]) -> None:
    """Warn the caller, before anything is done: a filter may turn this into an exception.

    Work that was put into a task of its own has no caller; the event loop is named then.
    """
    entry = _entry(sys._getframe(1))
    waiting = _waiting_for(entry)
    frame = (entry if waiting is None else _entry(waiting)).f_back or entry
    warnings.warn_explicit(
        message,
        category,
        filename=frame.f_code.co_filename,
        lineno=frame.f_lineno,
        module=frame.f_globals.get("__name__", "<string>"),
        registry=frame.f_globals.setdefault("__warningregistry__", {}),
    )


def _module(frame: FrameType) -> str:
    name: str = frame.f_globals.get("__name__") or ""
    return name


def _entry(frame: FrameType) -> FrameType:
    """The frame of Holdfast's that was called from outside, seen from one within."""
    while frame.f_back and _module(frame.f_back).partition(".")[0] == _PACKAGE:
        frame = frame.f_back
    return frame


def _waiting_for(entry: FrameType) -> FrameType | None:
    """The frame of the blocking face, on any thread, that waits for the coroutine of `entry`."""
    for top in sys._current_frames().values():
        for frame in _outwards(top):
            if _module(frame) in _BLOCKING:
                work = frame.f_locals.get(WORK)
                if getattr(work, "cr_frame", None) is entry:
                    return frame
    return None


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back
