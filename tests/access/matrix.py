"""Who may do what, written out for people: every operation, for every kind of caller.

`python -m tests.access.matrix` writes the golden file anew; look at the difference first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from holdfast.core.access import OPERATIONS, ROLES, Principal, Rule, decide
from holdfast.core.fence import OPEN, Fence
from holdfast.directory import Permission
from holdfast.engine.keys import root
from holdfast.errors import AccessError

GOLDEN = Path(__file__).with_name("matrix.txt")
FENCED = Fence(users=("ann",))

Decide = Callable[[Principal, str], Rule]


def key(permissions: frozenset[Permission], fence: Fence = OPEN) -> Principal:
    """Somebody with a key."""
    return Principal(id="key", kind="key", project="p", permissions=permissions, fence=fence)


def callers(fence: Fence = FENCED) -> Mapping[str, Principal]:
    """A caller of each kind, by the title of its column."""
    named = {
        "reader": key(ROLES["reader"]),
        "writer": key(ROLES["writer"]),
        "admin": key(ROLES["admin"]),
        "root": root("p"),
        "nothing": key(frozenset()),
        "only admin": key(frozenset({"admin"})),
    }
    fenced = {f"fenced {role}": key(ROLES[role], fence) for role in ("reader", "writer", "admin")}
    return named | fenced


def row(operation: str, rule: Rule, cells: Mapping[str, str]) -> str:
    """One line of the table."""
    told = f"{operation:<18}{rule.permission:<7}{rule.load:<8}{rule.reach:<12}"
    return (
        told + "".join(f"{cell:<{max(7, len(name) + 2)}}" for name, cell in cells.items())
    ).strip()


def cell(decided: Decide, principal: Principal, operation: str) -> str:
    """`yes`, or `-` for a refusal."""
    try:
        decided(principal, operation)
    except AccessError:
        return "-"
    return "yes"


def render(
    operations: Mapping[str, Rule] = OPERATIONS, decided: Decide = decide, fence: Fence = FENCED
) -> str:
    """The whole matrix."""
    who = callers(fence)
    title = f"{'operation':<18}{'needs':<7}{'limit':<8}{'reach':<12}"
    heads = "".join(f"{name:<{max(7, len(name) + 2)}}" for name in who)
    lines = [(title + heads).strip()]
    for operation, rule in operations.items():
        cells = {name: cell(decided, caller, operation) for name, caller in who.items()}
        lines.append(row(operation, rule, cells))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    GOLDEN.write_text(render())
