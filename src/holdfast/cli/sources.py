"""Files to import: what form they have, and their records, as often as they are asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from holdfast.core import chat_files, intake, transcripts
from holdfast.core.batches import filled
from holdfast.core.decoding import decode
from holdfast.core.transcripts import FORMATS, Format, Parsed, Record, Skip
from holdfast.errors import ValidationError
from holdfast.model import Json, Scope


class Source(NamedTuple):
    """A file that can be read again and again."""

    path: Path
    name: str
    """What to call it in messages."""
    form: Format
    lines: bool
    """One JSON value a line, read as a stream; otherwise one JSON value in all."""

    def parsed(self) -> Iterator[tuple[str, Parsed]]:
        """Each record or skip, with the place it comes from."""
        yield from self._of_lines() if self.lines else self._of_whole()

    def records(self) -> Iterator[Record]:
        """The records alone."""
        return (part for _, part in self.parsed() if isinstance(part, Record))

    def _of_lines(self) -> Iterator[tuple[str, Parsed]]:
        with self.path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    place = f"{self.name} line {number}"
                    yield from ((place, part) for part in self._of_line(line, number, place))

    def _of_line(self, line: bytes, number: int, place: str) -> Iterator[Parsed]:
        try:
            yield from transcripts.records(decode(line), self.form, number=number)
        except ValidationError as fault:
            message = fault.message.removeprefix(f"item {number}: ")
            raise type(fault)(f"{place}: {message}", hint=fault.hint) from fault

    def _of_whole(self) -> Iterator[tuple[str, Parsed]]:
        for number, item in enumerate(chat_files.items(self.path.read_bytes(), self.form), 1):
            place = f"{self.name} item {number}"
            try:
                for part in transcripts.records(item, self.form, number=number):
                    yield place, part
            except ValidationError as fault:
                raise type(fault)(f"{self.name} {fault.message}", hint=fault.hint) from fault


class Survey(NamedTuple):
    """What a file holds."""

    records: int
    skipped: Counter[str]
    """How often something was left out, by reason."""
    in_runs_only: int
    """Records that name no user, agent or app, and so are found by their run alone."""


def known_form(written: str | None) -> Format | None:
    """The value of `--format`.

    Raises:
        ValidationError: there is no such form.
    """
    if written is None:
        return None
    for form in FORMATS:
        if written.lower() == form:
            return form
    raise ValidationError(f"there is no format {written!r}.", hint=f"Known: {', '.join(FORMATS)}.")


def open_source(path: Path, name: str, form: Format | None) -> Source:
    """Finds out how to read a file.

    Raises:
        ValidationError: its form is not known, is ambiguous, or the file is empty.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        filled_lines = ((n, line) for n, line in enumerate(file, 1) if line.strip())
        number, first = next(filled_lines, (0, b""))
        more = any(line.strip() for line in file)
    if not number:
        raise ValidationError(f"{name} is empty.")
    try:
        return _told(path, name, form, first, more=more)
    except ValidationError as fault:
        line = f" line {number}" if path.suffix == ".jsonl" and not _opens(first) else ""
        raise type(fault)(f"{name}{line}: {fault.message}", hint=fault.hint) from fault


def _told(path: Path, name: str, form: Format | None, first: bytes, *, more: bool) -> Source:
    try:
        value: Json = decode(first)
    except ValidationError:
        if path.suffix == ".jsonl" and not _opens(first):
            raise
        value = None  # JSON over several lines, or none at all: reading the whole will tell
    stream = isinstance(value, dict) and (more or transcripts.is_line(value))
    if form is None:
        form = (
            transcripts.detect_line(value) if stream else chat_files.detect_file(path.read_bytes())
        )
    whole = isinstance(value, list) or chat_files.listing(value) is not None or _opens(first)
    return Source(path, name, form, lines=stream or (form == "jsonl" and not whole))


def _opens(line: bytes) -> bool:
    """Whether JSON over several lines begins with this one."""
    return line.strip().removeprefix(b"\xef\xbb\xbf") in (b"{", b"[")


def survey(source: Source, fill: Scope) -> Survey:
    """Reads a file to its end and checks every record, so that nothing is stored of a bad file.

    Raises:
        ValidationError: a record cannot be stored, or nothing says whose it is; names the place.
    """
    count = in_runs_only = 0
    skipped: Counter[str] = Counter()
    for place, part in source.parsed():
        if isinstance(part, Skip):
            skipped[part.reason] += 1
            continue
        try:
            _check(part, fill)
        except ValidationError as fault:
            raise type(fault)(f"{place}: {fault.message}", hint=fault.hint) from fault
        count += 1
        entities = filled(part.scope, fill).entities()
        in_runs_only += all(entity.kind == "run" for entity in entities)
    return Survey(count, skipped, in_runs_only)


def _check(record: Record, fill: Scope) -> None:
    scope = filled(record.scope, fill)
    if not scope.entities():
        raise ValidationError(
            "nothing says whose memory this is.",
            hint="Say it with --user (or --agent, --app, --run).",
        )
    intake.clean_scope(scope.user_id, scope.agent_id, scope.app_id, scope.run_id)
    intake.clean_text(record.text, "the text")
    if record.name is not None:
        intake.clean_id(record.name, "the name")
    intake.clean_metadata(record.metadata)
    intake.clean_categories(record.categories)
    intake.last_day(record.expires_on, "the expiration date")
