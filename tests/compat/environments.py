"""Virtual environments with one version of Mem0's client each, built once and kept.

They lie in `.compat` of the repository; whoever wants them anew deletes that folder.
"""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".compat"
VERSIONS = ("2.2.1", "1.0.11", "0.1.118")
"""The newest of each generation of `mem0ai` that is still in use."""

_INSTALL_S = 900
_MARK = ".installed"


def python_of(version: str) -> Path:
    """The interpreter of the environment with this version; builds it if it is not there."""
    folder = FOLDER / f"mem0ai-{version}"
    python = folder / "bin" / "python"
    if not (folder / _MARK).exists():
        venv.create(folder, with_pip=True, clear=True)
        _install(python, f"mem0ai=={version}")
        (folder / _MARK).touch()
    return python


def _install(python: Path, *requirements: str) -> None:
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(
        [*command, *requirements],
        env={"PATH": "/usr/bin:/bin", **_pip_settings()},
        capture_output=True,
        text=True,
        timeout=_INSTALL_S,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(requirements)} was not installed:\n{done.stderr[-2_000:]}")


def _pip_settings() -> dict[str, str]:
    """What tells pip where packages are, and nothing of the tests' own environment."""
    kept = ("PIP_", "HTTP", "http", "SSL_", "REQUESTS_")
    return {name: value for name, value in os.environ.items() if name.startswith(kept)} | {
        "HOME": os.environ.get("HOME", str(Path.home()))
    }


if __name__ == "__main__":  # builds them ahead of the tests
    for wanted in sys.argv[1:] or VERSIONS:
        sys.stdout.write(f"{python_of(wanted)}\n")
