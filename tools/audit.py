"""Ask the advisories about every version that `requirements.lock` pins: `make audit-deps`.

Ends with 1 where a version has a known weakness. pip-audit calls a package that the service does
not know "not vulnerable", and a mirror of packages knows no advisories: what was not looked at is
named here, and where nothing was, that is said in one line. `--must` makes it a failure, for a
release.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

LOCK = Path(__file__).parents[1] / "requirements.lock"
PATIENCE_S = 600

ACCEPTED: dict[str, str] = {}
"""Advisories that do not concern Holdfast: their id, and why."""

Found = Sequence[Mapping[str, Any]]


def pinned() -> list[str]:
    """The lines of the lock that pin a version."""
    lines = LOCK.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def ask(lines: Sequence[str], folder: Path) -> Found | None:
    """What pip-audit found for these pins; None where it could not ask."""
    wanted = folder / "wanted.txt"
    wanted.write_text("\n".join(lines), encoding="utf-8")
    ignored = [word for advisory in ACCEPTED for word in ("--ignore-vuln", advisory)]
    flags = ["--no-deps", "--disable-pip", "--progress-spinner=off", "--format=json"]
    command = [sys.executable, "-m", "pip_audit", f"--requirement={wanted}", *flags, *ignored]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=PATIENCE_S)
    try:
        found: Found = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        sys.stderr.write(done.stderr.strip().rpartition("\n")[2] + "\n")
        return None
    return found


def report(found: Found, *, must: bool) -> tuple[int, str]:
    """The exit code, and what to say."""
    weak = [
        f"{one['name']} {one['version']}: {flaw['id']}, mended in "
        f"{', '.join(flaw['fix_versions']) or 'no version yet'}"
        for one in found
        for flaw in one.get("vulns", ())
    ]
    unknown = [one["name"] for one in found if "skip_reason" in one]
    lines = [f"audit: {len(found) - len(unknown)} of {len(found)} packages looked up."]
    lines += [f"audit: known weakness in {line}" for line in weak]
    if unknown:
        lines.append(f"audit: not looked up, the service does not know: {', '.join(unknown)}")
    return int(bool(weak) or (must and bool(unknown))), "\n".join(lines)


def main(must: bool) -> int:
    """Audit the lock; the exit code."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lines = pinned()
        probe = ask(lines[:1], folder)  # one question shows whether there is anybody to ask
        if not probe or "skip_reason" in probe[0]:
            print("audit: NOT DONE, no service of advisories can be reached from here.")
            return int(must)
        found = ask(lines, folder)
    if found is None:
        print("audit: NOT DONE, the service of advisories stopped answering.")
        return int(must)
    code, text = report(found, must=must)
    print(text)
    return code


if __name__ == "__main__":
    sys.exit(main("--must" in sys.argv))
