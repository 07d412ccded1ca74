"""What goes out: tables and lines for people, JSON for programs, progress on standard error."""

from __future__ import annotations

import json
import math
import os
import sys
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

ID_TAIL = 8
"""Characters shown of an id: its last ones, which chance fills (the first are the time)."""

TABLE_COLUMNS_MIN = 60
"""Columns of the narrowest terminal that gets memories in a table: in a narrower one, their texts
would be cut."""
FULL_ID_COLUMNS_MIN = 110
"""Columns of a terminal in which whole ids, to copy, leave enough room for the texts."""

_UNITS = ("kB", "MB", "GB", "TB")


class Advance(Protocol):
    """Reports progress: `done` more units, of `total` if that is known by now, and a note."""

    def __call__(self, done: int, /, *, total: int | None = None, note: str = "") -> None: ...


def printable(text: str) -> str:
    """Text that cannot steer a terminal: control characters and lone surrogates become U+FFFD.

    Line breaks and tabs stay. Memories are other people's words; an escape sequence in one must
    not reach the screen.
    """
    if text.isprintable():
        return text
    return "".join(
        mark
        if mark in "\n\t" or unicodedata.category(mark) not in ("Cc", "Cs")
        else "\N{REPLACEMENT CHARACTER}"
        for mark in text
    )


def print_json(value: Any) -> None:
    """One JSON document: compact for a pipe, indented for a person."""
    indent = 2 if sys.stdout.isatty() else None
    typer.echo(json.dumps(value, ensure_ascii=False, indent=indent, default=str))


def console(*, no_color: bool = False, stderr: bool = False) -> Console:
    """A console that honours NO_COLOR, `--no-color` and a pipe, and never highlights by itself."""
    from rich.console import Console

    class Screen(Console):
        """Lets a pipe that broke be reported as everywhere else, not by an exit of rich's own."""

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    plain = no_color or bool(os.environ.get("NO_COLOR"))
    return Screen(
        stderr=stderr,
        no_color=True if plain else None,
        highlight=False,
        emoji=False,
        markup=False,
        soft_wrap=False,
    )


def table(*headings: str | tuple[str, Mapping[str, Any]]) -> Table:
    """An empty table; a heading may carry options of rich's `add_column`."""
    from rich import box
    from rich.table import Table

    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    for heading in headings:
        name, options = (heading, {}) if isinstance(heading, str) else heading
        made.add_column(name, **{"overflow": "fold", **options})
    return made


def print_memories(
    screen: Console, memories: Sequence[Mapping[str, Any]], *, scored: bool, whole: bool
) -> None:
    """A table, if it is not to be `whole` and there is room for one."""
    if whole or screen.width < TABLE_COLUMNS_MIN:
        print_whole(screen, memories)
    else:
        full = screen.width >= FULL_ID_COLUMNS_MIN
        screen.print(memory_table(memories, scored=scored, full_ids=full))


def memory_table(
    memories: Sequence[Mapping[str, Any]], *, scored: bool, full_ids: bool = False
) -> Table:
    """A table of memories with their ids or the ends of them; `scored`: with their scores."""
    headings: list[Any] = [("score", {"justify": "right", "style": "cyan"})] if scored else []
    headings += [
        ("date", {"no_wrap": True, "style": "green"}),
        ("who", {"style": "magenta", "max_width": 14}),
        ("memory", {"ratio": 1, "min_width": 24}),
        ("id", {"style": "dim", "no_wrap": True}),
    ]
    made = table(*headings)
    for memory in memories:
        score = [f"{memory['score']:.2f}"] if scored else []
        text = printable(memory["memory"])
        name = memory["id"] if full_ids else short_id(memory["id"])
        made.add_row(*score, day(_when(memory)), _who(memory), text, name)
    return made


def print_whole(screen: Console, memories: Sequence[Mapping[str, Any]]) -> None:
    """Memories in full, one below the other: nothing is cut, whatever the terminal's width."""
    from rich.padding import Padding
    from rich.text import Text

    for memory in memories:
        head = Text(memory["id"], style="bold")
        head.append(f"  {minute(_when(memory))}", style="green")
        if "score" in memory:
            head.append(f"  {memory['score']:.2f}", style="cyan")
        screen.print(head, soft_wrap=True)
        details = [_belongs(memory), _who(memory), *map(printable, memory.get("categories", ()))]
        details += [_validity(memory), _compact(memory.get("metadata"))]
        screen.print(Padding(Text("  ".join(filter(None, details)), style="dim"), (0, 0, 0, 2)))
        screen.print(Padding(Text(printable(memory["memory"])), (0, 0, 0, 2)))


def fact_table(rows: Sequence[tuple[str, Any]]) -> Table:
    """Two columns without headings: a name and its value."""
    from rich.table import Table

    made = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    made.add_column(style="bold", no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in rows:
        made.add_row(name, printable(value if isinstance(value, str) else _compact(value)))
    return made


def short_id(name: str) -> str:
    """The end of an id, marked as cut."""
    return name if len(name) <= ID_TAIL + 1 else f"\N{HORIZONTAL ELLIPSIS}{name[-ID_TAIL:]}"


def day(written: str | None) -> str:
    """The day of an ISO 8601 date in UTC; empty for none."""
    if not written:
        return ""
    at = datetime.fromisoformat(written)
    return (at.astimezone(UTC) if at.tzinfo else at).date().isoformat()


def minute(written: str | None) -> str:
    """The day and minute of an ISO 8601 date in UTC; empty for none."""
    if not written:
        return ""
    at = datetime.fromisoformat(written)
    return (at.astimezone(UTC) if at.tzinfo else at).strftime("%Y-%m-%d %H:%M")


def duration(seconds: float) -> str:
    """A length of time in the unit that fits: "0.8 ms", "12 ms", "3.4 s", "2 min 05 s"."""
    if seconds < 0.0995:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds // 60)} min {int(seconds % 60):02d} s"


def size(count: int) -> str:
    """A number of bytes in the unit that fits: "312 B", "4.1 MB"."""
    if count < 1000:
        return f"{count} B"
    power = min(int(math.log(count, 1000)), len(_UNITS))
    return f"{count / 1000**power:.1f} {_UNITS[power - 1]}"


def styled(text: str, style: str) -> Any:
    """Text in a style, for a cell of a table."""
    from rich.text import Text

    return Text(text, style=style)


def _when(memory: Mapping[str, Any]) -> str | None:
    return memory.get("event_at") or memory.get("created_at")


def _who(memory: Mapping[str, Any]) -> str:
    return printable(memory.get("actor_id") or memory.get("role") or "")


def _belongs(memory: Mapping[str, Any]) -> str:
    named = ((kind, memory.get(f"{kind}_id")) for kind in ("user", "agent", "app", "run"))
    return printable(" ".join(f"{kind}={name}" for kind, name in named if name is not None))


def _validity(memory: Mapping[str, Any]) -> str:
    last, end = memory.get("expiration_date"), memory.get("valid_to")
    told = [f"expires {last}" if last else "", f"true until {day(end)}" if end else ""]
    return "  ".join(filter(None, [*told, "immutable" if memory.get("immutable") else ""]))


def _compact(value: Any) -> str:
    if value is None or value == {} or value == []:
        return ""
    return printable(json.dumps(value, ensure_ascii=False, default=str))


def fields_of(value: Any) -> dict[str, Any]:
    """The fields of a value of `model`, by name."""
    return {name: getattr(value, name) for name in value.__struct_fields__}


def _silent(done: int, /, *, total: int | None = None, note: str = "") -> None:
    """Nobody looks."""


@contextmanager
def progress(
    label: str, total: int | None, *, unit: str, no_color: bool = False
) -> Iterator[Advance]:
    """A bar with rate and time left on standard error; nothing where that is no terminal."""
    screen = console(no_color=no_color, stderr=True)
    if not screen.is_terminal:
        yield _silent
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(compact=True),
        console=screen,
        transient=True,
    ) as bar:
        task = bar.add_task(label, total=total, rate="")

        def advance(done: int, /, *, total: int | None = None, note: str = "") -> None:
            if total is not None:
                bar.update(task, total=total)
            bar.advance(task, done)
            speed = bar.tasks[0].finished_speed or bar.tasks[0].speed
            rate = f"{speed:,.0f} {unit}/s" if speed else ""
            bar.update(task, rate=f"{rate} {note}".strip())

        yield advance
