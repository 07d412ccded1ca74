"""Folders with one version of the npm package `mem0ai` each, installed once and kept.

They lie in `.compat` of the repository; whoever wants them anew deletes that folder.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".compat"
VERSIONS = {"3": "3.3.1", "2": "2.4.6"}
"""The newest of each generation of `mem0ai` that is still in use."""

CLI_VERSION = "0.2.13"
"""The newest of `@mem0/cli`, which brings the command `mem0`."""

_INSTALL_S = 600


def missing() -> str | None:
    """What this machine lacks to run the package; None if nothing."""
    lacking = [name for name in ("node", "npm") if shutil.which(name) is None]
    return f"{' and '.join(lacking)} not installed" if lacking else None


def package_of(generation: str) -> Path:
    """The folder where this generation is installed; it is filled if need be."""
    return _installed(f"ts-{generation}", "mem0ai", VERSIONS[generation])


def cli() -> Path:
    """The script of the `mem0` command, which is installed if need be."""
    folder = _installed("ts-cli", "@mem0/cli", CLI_VERSION)
    return folder / "node_modules" / "@mem0" / "cli" / "dist" / "index.js"


def _installed(name: str, package: str, wanted: str) -> Path:
    folder = FOLDER / name
    manifest = folder / "node_modules" / package / "package.json"
    if manifest.exists() and json.loads(manifest.read_text())["version"] == wanted:
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "package.json").write_text(json.dumps({"name": name, "private": True}))
    # Its peers are the clients of every vector store there is; `mem0ai` itself needs none of them.
    options = ("--no-audit", "--no-fund", "--legacy-peer-deps", "--ignore-scripts")
    done = subprocess.run(
        ["npm", "install", *options, f"{package}@{wanted}"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=_INSTALL_S,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{package}@{wanted} was not installed:\n{done.stderr[-2_000:]}")
    return folder


if __name__ == "__main__":  # installs them ahead of the tests
    for each in sys.argv[1:] or VERSIONS:
        sys.stdout.write(f"{package_of(each)}\n")
