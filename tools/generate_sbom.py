"""Write `docs/sbom.cdx.json`, the bill of materials: what the lock pins, in CycloneDX 1.6.

A component is `required` by every install, `optional` where an extra brings it, `excluded` where
only developers need it. Licences are read from the packages' metadata; one that says none, or one
that is not on the list below, ends this with its name. `--check` compares instead of writing.
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "docs" / "sbom.cdx.json"

ALLOWED = {
    *("0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "CNRI-Python", "ISC"),
    *("MIT", "MIT-0", "MIT-CMU", "PSF-2.0", "Zlib"),
}
"""Licences that ask for no more than that they are named."""

ALLOWED_FOR = {
    "MPL-2.0": {"certifi", "hypothesis", "orjson", "pathspec", "tqdm"},
    "LGPL-3.0-only": {"psycopg", "psycopg-binary", "psycopg-pool"},
}
"""Licences that ask for the source of the package itself when it is changed; it is not changed,
and is imported as a library of its own. Each package is looked at before it is named here."""

WORDS = {
    "apache 2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "apache-2.0": "Apache-2.0",
    "3-clause bsd license": "BSD-3-Clause",
    "bsd 2-clause license": "BSD-2-Clause",
    "bsd 3-clause": "BSD-3-Clause",
    "bsd 3-clause license": "BSD-3-Clause",
    "bsd-2-clause": "BSD-2-Clause",
    "bsd-3-clause": "BSD-3-Clause",
    "isc license": "ISC",
    "mit": "MIT",
    "mit license": "MIT",
    "mit or apache-2.0": "MIT OR Apache-2.0",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "mpl-2.0": "MPL-2.0",
    "mpl-2.0 and mit": "MPL-2.0 AND MIT",
    "python software foundation license": "PSF-2.0",
    "the mit license (mit)": "MIT",
}
"""How packages write their licences that do not yet write them as SPDX has it."""

READ = {
    "cronsim": "BSD-3-Clause",
    "cycler": "BSD-3-Clause",
    "defusedxml": "PSF-2.0",
    "isodate": "BSD-3-Clause",
    "kiwisolver": "BSD-3-Clause",
    "pyasn1-modules": "BSD-2-Clause",
    "pystemmer": "MIT AND BSD-3-Clause",
    "python-dateutil": "Apache-2.0 AND BSD-3-Clause",
    "sniffio": "MIT OR Apache-2.0",
}
"""Licences read in the package, whose metadata says them ambiguously or not at all."""

Wanted = tuple[str, frozenset[str]]
"""A package and the extras of it that are asked for."""


def locked() -> dict[str, tuple[str, str]]:
    """What the lock pins: canonical name to name and version."""
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): (name, version) for name, version in pairs}


def license_of(name: str, found: metadata.PackageMetadata) -> str:
    """The SPDX expression of a package's licence; nothing if it cannot be told."""
    if name in READ:
        return READ[name]
    fields = found.json
    if expression := fields.get("license_expression"):
        return str(expression)
    classifiers = [
        line.split("::")[-1] for line in fields.get("classifier", ()) if "License ::" in line
    ]
    field = str(fields.get("license", "")).strip().splitlines()[:1]
    for text in (*field, *classifiers):
        if known := WORDS.get(text.strip().lower()):
            return known
    return ""


def refused(name: str, expression: str) -> str | None:
    """Why a licence may not be depended on, if it may not."""
    if not expression:
        return f"{name}: no known licence; read it, then name it in READ"
    terms = set(re.findall(r"[\w.+-]+", expression)) - {"AND", "OR", "WITH"}
    bad = sorted(term for term in terms - ALLOWED if name not in ALLOWED_FOR.get(term, ()))
    return f"{name}: {', '.join(bad)} is not on the list of licences" if bad else None


def needs(name: str, extras: Iterable[str]) -> Iterator[Wanted]:
    """What a package asks for, on whatever platform and version of Python."""
    for text in metadata.requires(name) or []:
        wanted = Requirement(text)
        marker = wanted.marker
        asks = marker is not None and re.search(r"\bextra\b", str(marker))
        if marker is not None and asks and not any(marker.evaluate({"extra": e}) for e in extras):
            continue
        yield canonicalize_name(wanted.name), frozenset(wanted.extras)


def reached(roots: Iterable[Wanted], known: Iterable[str]) -> dict[str, set[str]]:
    """Every locked package that these need, directly or not, and what each of them needs."""
    edges: dict[str, set[str]] = {}
    seen: set[Wanted] = set()
    left = [root for root in roots if root[0] in known]
    while left:
        if (wanted := left.pop()) in seen:
            continue
        seen.add(wanted)
        name, extras = wanted
        below = [one for one in needs(name, extras) if one[0] in known]
        edges.setdefault(name, set()).update(one for one, _ in below)
        left += below
    return edges


def roots(project: dict[str, Any]) -> dict[str, list[Wanted]]:
    """What `pyproject.toml` names, by scope."""
    extras = project["optional-dependencies"]
    chosen = [line for extra, lines in extras.items() if extra != "dev" for line in lines]
    lines = {"required": project["dependencies"], "optional": chosen, "excluded": extras["dev"]}
    return {scope: [_wanted(line) for line in group] for scope, group in lines.items()}


def _wanted(line: str) -> Wanted:
    requirement = Requirement(line)
    return canonicalize_name(requirement.name), frozenset(requirement.extras)


def component(name: str, shown: str, version: str, scope: str) -> dict[str, Any]:
    """One package. Raises SystemExit where the installed one is not the locked one."""
    try:
        found = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        raise SystemExit(f"generate_sbom: {name} is locked but not installed: make test") from None
    if found["Version"] != version:
        raise SystemExit(f"generate_sbom: {name} is {found['Version']}, locked is {version}")
    expression = license_of(name, found)
    if reason := refused(name, expression):
        raise SystemExit(f"generate_sbom: {reason}")
    return {
        "type": "library",
        "bom-ref": _ref(name, version),
        "name": shown,
        "version": version,
        "scope": scope,
        "licenses": [{"expression": expression}],
        "purl": _ref(name, version),
    }


def _ref(name: str, version: str) -> str:
    return f"pkg:pypi/{name}@{version.replace('+', '%2B')}"


def bill() -> dict[str, Any]:
    """The whole document. The same lock makes the same text: no time, no number of its own."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    known = locked()
    named = roots(project)
    edges = reached([one for group in named.values() for one in group], known)
    scopes = dict.fromkeys(known, "excluded")
    for scope in ("optional", "required"):
        scopes |= dict.fromkeys(reached(named[scope], known), scope)
    refs = {name: _ref(name, version) for name, (_, version) in known.items()}
    direct = {name for scope in ("required", "optional") for name, _ in named[scope]} & set(known)
    below = {"holdfast": direct, **{refs[name]: edges.get(name, set()) for name in sorted(known)}}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": "holdfast",
                "name": project["name"],
                "licenses": [{"expression": project["license"]}],
            },
            "properties": [
                {"name": "holdfast:note", "value": "This file: generated by tools/generate_sbom.py"}
            ],
        },
        "components": [component(name, *known[name], scopes[name]) for name in sorted(known)],
        "dependencies": [
            {"ref": ref, "dependsOn": sorted(refs[name] for name in names)}
            for ref, names in below.items()
        ],
    }


def main() -> None:
    """Write the bill, or fail if the one on disk differs."""
    text = json.dumps(bill(), indent=2) + "\n"
    if "--check" not in sys.argv:
        TARGET.write_text(text, encoding="utf-8")
    elif not TARGET.exists() or TARGET.read_text(encoding="utf-8") != text:
        raise SystemExit(f"{TARGET.name} is not what the lock says: run `make generate`.")


if __name__ == "__main__":
    main()
