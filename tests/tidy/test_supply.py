"""The supply chain: licences that may be depended on, a valid bill, an audit that is honest."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from tidy import source
from tools import audit
from tools.generate_sbom import ALLOWED_FOR, refused

BILL: dict[str, Any] = json.loads((source.ROOT / "docs/sbom.cdx.json").read_text("utf-8"))


def test_the_bill_is_cyclonedx() -> None:
    """Its validator finds a planted fault."""
    check = JsonStrictValidator(SchemaVersion.V1_6)
    assert check.validate_str(json.dumps(BILL)) is None
    planted = {**BILL, "components": [{"name": "no type"}]}
    assert check.validate_str(json.dumps(planted)) is not None


def test_the_bill_holds_what_the_lock_pins_and_knows_who_needs_it() -> None:
    refs = {one["bom-ref"] for one in BILL["components"]}
    assert len(refs) == len(BILL["components"]) == len(audit.pinned())
    edges = {one["ref"]: set(one["dependsOn"]) for one in BILL["dependencies"]}
    assert set(edges) == refs | {"holdfast"}
    scopes = {one["name"].lower(): one["scope"] for one in BILL["components"]}
    assert (scopes["numpy"], scopes["fastapi"], scopes["ruff"]) == (
        "required",
        "optional",
        "excluded",
    )
    shipped = {one["bom-ref"] for one in BILL["components"] if one["scope"] != "excluded"}
    assert set.union(*(edges[ref] for ref in shipped)) <= shipped
    assert all(ref in shipped for ref in edges["holdfast"])


@pytest.mark.parametrize(
    ("name", "expression"),
    [
        ("new", ""),
        ("new", "GPL-3.0-only"),
        ("new", "MIT AND AGPL-3.0-or-later"),
        ("new", "LGPL-3.0-only"),
        ("new", "MPL-2.0"),
        ("new", "LicenseRef-Proprietary"),
    ],
)
def test_a_licence_that_is_not_on_the_list_is_refused(name: str, expression: str) -> None:
    assert "new" in str(refused(name, expression))


@pytest.mark.parametrize("name", sorted(set.union(*ALLOWED_FOR.values())))
def test_exceptions_are_needed(name: str) -> None:
    [used] = [
        one["licenses"][0]["expression"]
        for one in BILL["components"]
        if one["purl"].startswith(f"pkg:pypi/{name}@")
    ]
    assert refused(name, used) is None
    assert refused("another", used) is not None, "an exception that nobody needs"


GOOD = {"name": "a", "version": "1", "vulns": []}
WEAK = {"name": "b", "version": "2", "vulns": [{"id": "PLANTED-1", "fix_versions": ["3"]}]}
UNKNOWN = {"name": "c", "skip_reason": "not found"}


def test_an_audit_tells_what_it_found_and_what_it_did_not_look_at() -> None:
    assert audit.report([GOOD], must=True) == (0, "audit: 1 of 1 packages looked up.")
    code, text = audit.report([GOOD, WEAK, UNKNOWN], must=False)
    assert code == 1
    assert "b 2: PLANTED-1, mended in 3" in text
    code, text = audit.report([GOOD, UNKNOWN], must=False)
    assert code == 0
    assert "1 of 2" in text and text.endswith("does not know: c")  # noqa: PT018
    assert audit.report([GOOD, UNKNOWN], must=True)[0] == 1


@pytest.mark.parametrize(("words", "code"), [([], 0), (["--must"], 1)])
def test_an_audit_without_a_network_says_so(words: list[str], code: int) -> None:
    command = [sys.executable, str(source.ROOT / "tools" / "audit.py"), *words]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    assert done.stdout.startswith("audit: NOT DONE")
    assert "NetworkBlockedError" in done.stderr
