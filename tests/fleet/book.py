"""What callers of a fleet were told, and whether it is true."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Book:
    """Acknowledged writes by user, and everything that should not have been seen."""

    kept: dict[str, dict[str, str]] = field(default_factory=dict)
    """User to {memory id: text}: added and not deleted, acknowledged."""
    open: dict[str, set[str]] = field(default_factory=dict)
    """User to texts whose add was never answered: they may be there, once, or not."""
    deleted: dict[str, set[str]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def fault(self, what: str) -> None:
        """Take down what must not happen."""
        if len(self.faults) < 50:
            self.faults.append(what)
        self.counts["faults"] += 1

    def check_listing(self, user: str, found: list[dict[str, Any]], when: str) -> None:
        """Every acknowledged memory is listed once, no deleted one is, and nothing else."""
        listed = Counter(one["id"] for one in found)
        texts = Counter(one["memory"] for one in found)
        kept = self.kept.get(user, {})
        for id_, text in kept.items():
            if listed[id_] != 1:
                self.fault(f"{when}: {user} has {text!r} {listed[id_]} times")
        for text, times in texts.items():
            if times > 1:
                self.fault(f"{when}: {user} has {text!r} doubled")
        gone = self.deleted.get(user, set())
        for one in found:
            if one["id"] in gone:
                self.fault(f"{when}: {user} still has {one['memory']!r}, which was deleted")
            elif one["id"] not in kept and one["memory"] not in self.open.get(user, set()):
                self.fault(f"{when}: {user} has {one['memory']!r}, which nobody was told of")
