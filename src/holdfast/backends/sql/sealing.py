"""Texts and vectors of rows, sealed as they are written and opened as they are read.

A connection carries a `Sealer`, or None where the store is a plain one. It holds the keys of some
subjects in memory and neither waits nor asks: where a key is missing, `KeyNeeded` says which, and
whoever runs the statements gets it and runs them again (`sql.keys`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec

from holdfast.backends.sql.dialect import Connection
from holdfast.backends.sql.nonces import nonce
from holdfast.core.seal import (
    FERNET_PREFIX,
    Place,
    disclose,
    envelope,
    is_sealed,
    seal,
    unfernet,
    unseal,
    version_of,
)
from holdfast.directory import (
    Delivery,
    Erasure,
    Export,
    Feedback,
    Held,
    Row,
    SigningKey,
    Webhook,
)
from holdfast.errors import ConfigError, CorruptError
from holdfast.model import ENTITY_KINDS

STATE: Final = "sealed"
"""The counter that says how a store is sealed; it is not there where texts are plain."""
STATE_OF: Final = f"SELECT value FROM counters WHERE name = '{STATE}'"

CURRENT: Final = 0
"""Stands for the version of a key that is sealed with."""

SEALED_FIELDS: Final[Mapping[type[Row], tuple[str, ...]]] = {
    Webhook: ("secret", "old_secret"),
    Delivery: ("body",),
    Feedback: ("reason",),
    Export: ("request", "result"),
    Erasure: ("subject",),
    SigningKey: ("secret",),
    Held: ("messages", "request"),
}
"""What is sealed of the directory: with the key of the row's subject, if it names one, else of the
project."""


class Subject(NamedTuple):
    """Whose key a text is sealed with: a user, else an agent, an app, a run, else the project."""

    project: str
    kind: str
    id: str

    def bound(self, version: int) -> bytes:
        """What a wrapped key is bound to."""
        return Place(self.project, "subject_keys", f"{self.kind} {version}", self.id).bound()


class Need(NamedTuple):
    """A key that is not in memory."""

    subject: Subject
    version: int


class KeyNeeded(Exception):
    """Statements met texts whose keys are not in memory; whoever runs them gets the keys."""

    def __init__(self, needs: Iterable[Need]) -> None:
        super().__init__()
        self.needs = frozenset(needs)


Ids = tuple[str | None, ...]
"""user_id, agent_id, app_id and run_id of a row."""


class KeysDestroyed(Exception):
    """Data keys were destroyed, which this process may hold; it must look before it seals."""

    def __init__(self, times: int) -> None:
        """`times`: how often that was, by now."""
        super().__init__()
        self.times = times


class Text(NamedTuple):
    """A text (or vector) of a row: the row's id, whose it is, and the text as it is stored."""

    row: str
    ids: Ids
    stored: str | bytes | None


@lru_cache(maxsize=4_096)
def subject_of(project: str, ids: Ids) -> Subject:
    """The subject of a row by its user_id, agent_id, app_id and run_id."""
    for kind, name in zip(ENTITY_KINDS, ids, strict=True):
        if name is not None:
            return Subject(project, kind, name)
    return Subject(project, "project", "")


def job_ids(scope_key: str) -> Ids:
    """The identities that a job is about; none if its scope is of another kind."""
    try:
        return _ids_of(scope_key)
    except msgspec.DecodeError:
        return NOBODY


_ids_of: Final = msgspec.json.Decoder(tuple[str | None, str | None, str | None, str | None]).decode

NOBODY: Final = (None, None, None, None)
"""The identities of what belongs to the project as a whole."""


class Keys(NamedTuple):
    """The data keys of a subject, by version, and the one that is sealed with."""

    current: int
    by_version: Mapping[int, bytes]
    erased: frozenset[int] = frozenset()
    """Versions that were destroyed when the subject was erased, as the store has it on record."""


class _Erased(str):
    """Its own kind of text, so that no other one is taken for it."""

    __slots__ = ()


ERASED: Final = _Erased()
"""What a text is opened to whose subject was erased: its row is passed over."""


class Sealer:
    """Seals and opens with the keys it holds; may be used from any thread."""

    def __init__(self, fernet_keys: tuple[bytes, ...] = (), sensitive: Iterable[str] = ()) -> None:
        """`fernet_keys`: of an earlier setup, whose encrypted texts may be among the plain ones.
        `sensitive`: keys of metadata whose values are sealed."""
        self.sensitive = frozenset(sensitive)
        """The keys of metadata whose values are sealed, those of earlier settings among them once
        the store is open."""
        self.strict = False
        """Whether every text is sealed: one that is not was put there by somebody else."""
        self.strict_vectors = False
        """The same of vectors."""
        self.destroyed = 0
        """How often keys were destroyed in the store, as far as this process knows."""
        self._keys: dict[Subject, Keys] = {}
        self._fernet_keys = fernet_keys

    @property
    def held(self) -> int:
        """How many subjects' keys are in memory."""
        return len(self._keys)

    def hold(self, subject: Subject, keys: Keys) -> None:
        """Keep the keys of a subject, the last kept ones."""
        self._keys.pop(subject, None)
        self._keys[subject] = keys

    def drop(self, subject: Subject) -> None:
        """Forget the keys of a subject."""
        self._keys.pop(subject, None)

    def oldest(self) -> Iterable[Subject]:
        """The subjects whose keys are held, the longest held first."""
        return list(self._keys)

    def keys_of(self, subject: Subject) -> Keys:
        """The keys of a subject. Raises KeyNeeded."""
        keys = self._keys.get(subject)
        if keys is None or not keys.current:
            raise KeyNeeded([Need(subject, CURRENT)])
        return keys

    def has(self, need: Need) -> bool:
        """Whether a key is in memory."""
        keys = self._keys.get(need.subject)
        return keys is not None and (need.version or keys.current) in keys.by_version

    def seal(self, subject: Subject, place: Place, value: str | bytes) -> Any:
        """The value as it is stored. Raises KeyNeeded."""
        keys = self._keys.get(subject)
        if keys is None or not keys.current:
            raise KeyNeeded([Need(subject, CURRENT)])
        key = keys.by_version[keys.current]
        return seal(key, keys.current, nonce(), place, value)

    def need(self, subject: Subject, stored: str | bytes | None) -> Need | None:
        """The key that a stored value asks for, if it is not in memory. Raises CorruptError."""
        if stored is None or not is_sealed(stored):
            return None
        need = Need(subject, version_of(stored))
        return None if self.has(need) or self._is_erased(need) else need

    def _is_erased(self, need: Need) -> bool:
        keys = self._keys.get(need.subject)
        return keys is not None and need.version in keys.erased

    def open(self, subject: Subject, place: Place, stored: str | bytes) -> Any:
        """The value of what is stored. Raises KeyNeeded, CorruptError."""
        if not is_sealed(stored):
            return self._plain(place, stored)
        version = version_of(stored)
        keys = self._keys.get(subject)
        key = None if keys is None else keys.by_version.get(version)
        if key is None and self._is_erased(Need(subject, version)):
            return ERASED
        if key is None:
            raise KeyNeeded([Need(subject, version)])
        return unseal(key, place, stored)

    def open_all(self, project: str, table: str, field: str, texts: Iterable[Text]) -> list[Any]:
        """`open` for the same field of many rows; None stays None, an erased subject's is ERASED.

        Raises KeyNeeded for all keys that are missing, CorruptError.
        """
        values: list[Any] = []
        missing: set[Need] = set()
        for row, ids, stored in texts:
            if stored is None:
                values.append(None)
                continue
            place = Place(project, table, row, field)
            if not is_sealed(stored):
                values.append(self._plain(place, stored))
                continue
            subject, raw = subject_of(project, ids), envelope(stored)
            keys = self._keys.get(subject)
            key = None if keys is None else keys.by_version.get(raw[0])
            if key is None and keys is not None and raw[0] in keys.erased:
                values.append(ERASED)
            elif key is None:
                missing.add(Need(subject, raw[0]))
            elif not missing:
                values.append(disclose(key, place, raw, is_text=isinstance(stored, str)))
        if missing:
            raise KeyNeeded(missing)
        return values

    def _plain(self, place: Place, stored: str | bytes) -> Any:
        if self.strict_vectors if isinstance(stored, bytes) else self.strict:
            raise CorruptError(
                f"A {place.field} in {place.table} is not sealed, though all of this store are.",
                hint="Somebody else wrote it; restore a backup.",
            )
        if isinstance(stored, str) and self._fernet_keys and stored.startswith(FERNET_PREFIX):
            return unfernet(self._fernet_keys, stored)
        return stored


def sealed(
    connection: Connection,
    project: str,
    table: str,
    field: str,
    text: Text,
) -> Any:
    """A text as it is to be stored; `text.stored` is the text itself here. Raises KeyNeeded."""
    sealer = connection.sealer
    if sealer is None or text.stored is None:
        return text.stored
    place = Place(project, table, text.row, field)
    return sealer.seal(subject_of(project, text.ids), place, text.stored)


def opened(
    connection: Connection,
    project: str,
    table: str,
    field: str,
    texts: Sequence[Text],
) -> list[Any]:
    """Stored texts as they were before; None stays None.

    Raises KeyNeeded for all the keys that are missing at once, CorruptError.
    """
    sealer = connection.sealer
    if sealer is None:
        return plain(connection, [text.stored for text in texts])
    return sealer.open_all(project, table, field, texts)


def plain(connection: Connection, stored: list[Any]) -> list[Any]:
    """Stored texts as a process without a keyring tells them.

    Raises ConfigError for a sealed one: somebody began to seal after this process was started.
    """
    if any(text is not None and is_sealed(text) for text in stored) and (
        connection.execute(STATE_OF, ()).fetchone() is not None
    ):
        raise ConfigError(
            "Another process began to seal the texts of this store.",
            hint="Set `seal` for this process as well, then start it again.",
        )
    return stored


SCOPE_COLUMNS: Final = ("user_id", "agent_id", "app_id", "run_id")
"""Columns that tell whose a row is."""


def names_subject(kind: type[Row]) -> bool:
    """Whether rows of this kind tell whose they are."""
    return SCOPE_COLUMNS[0] in kind.__struct_fields__


def ids_in(kind: type[Row], values: Mapping[str, Any]) -> Ids:
    """The identities in a row of the directory."""
    return tuple(values[name] for name in SCOPE_COLUMNS) if names_subject(kind) else NOBODY


def row_id(kind: type[Row], values: Mapping[str, Any]) -> str:
    """What tells a row of the directory apart, as one text."""
    return msgspec.json.encode([values[name] for name in kind.key]).decode()
