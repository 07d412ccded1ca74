"""Which interpreter and which environment variables each contender runs with.

Holdfast and the bare limit run in the project's own environment. Mem0 gets a virtual environment
of its own under `.bench/`, made when it is first needed, with the same versions of numpy, wordllama
and tokenizers: the embedder is the same to the last bit.
"""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

from sidebyside.contender_mem0 import ENVIRONMENT as MEM0_ENVIRONMENT

PEER_REQUIREMENT = "mem0ai>=2.2.1,<3"
SHARED_PACKAGES = ("numpy", "wordllama", "tokenizers")
SERVING_PACKAGES = ("fastapi", "uvicorn", "uvloop", "httptools")
"""For `make bench-server`; Mem0 itself imports none of them."""
INSTALL_TIMEOUT_S = 900
BENCH = Path(__file__).resolve().parent.parent
CACHE = BENCH.parent / ".bench"


class PeerUnavailableError(Exception):
    """Mem0's environment could not be made; the message says why and how to go on without it."""


def cache_folder() -> Path:
    """`.bench/` beside the sources, ignored by git through a file of its own."""
    CACHE.mkdir(exist_ok=True)
    (CACHE / ".gitignore").write_text("*\n")
    return CACHE


def peer_requirements() -> list[str]:
    """What is installed into Mem0's environment."""
    pinned = [
        f"{name}=={importlib.metadata.version(name)}"
        for name in (*SHARED_PACKAGES, *SERVING_PACKAGES)
    ]
    return [PEER_REQUIREMENT, *pinned]


def ensure_peer() -> Path:
    """The interpreter of Mem0's environment, which is made if it is missing or out of date.

    Raises:
        PeerUnavailableError: the packages could not be installed.
    """
    folder = cache_folder() / "mem0-venv"
    python = folder / "bin" / "python"
    stamp = folder / "requirements.txt"
    wanted = "\n".join([sys.version, *peer_requirements()])
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    _run([sys.executable, "-m", "venv", "--clear", str(folder)])
    _run([str(python), "-m", "pip", "install", "--quiet", *peer_requirements()])
    stamp.write_text(wanted)
    return python


def _run(command: list[str]) -> None:
    try:
        subprocess.run(
            command, check=True, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S
        )
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip().splitlines() or ["no message"])[-1]
        raise PeerUnavailableError(
            f"Mem0's environment could not be made: {last}. "
            "Give --contenders bare,holdfast to measure without it."
        ) from error


def interpreter(name: str) -> Path:
    """The interpreter that runs the contender."""
    return ensure_peer() if name == "mem0" else Path(sys.executable)


def variables(name: str, home: Path) -> dict[str, str]:
    """The contender's environment: its home is `home`, one BLAS thread, nothing sent anywhere."""
    paths = [str(BENCH)] + ([str(BENCH.parent / "src")] if name == "holdfast" else [])
    kept = {key: value for key, value in os.environ.items() if not key.startswith("MEM0_")}
    return kept | {
        "PYTHONPATH": os.pathsep.join(paths),
        "HOME": str(home),
        "HOLDFAST_HOME": str(home),
        "MEM0_DIR": str(home / "mem0"),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        **MEM0_ENVIRONMENT,
    }


def peer_versions() -> dict[str, str]:
    """Versions of Mem0 and its store as installed."""
    script = (
        "from importlib.metadata import version\n"
        "for name in ('mem0ai', 'qdrant-client'): print(name, version(name))"
    )
    shown = subprocess.run(
        [str(ensure_peer()), "-c", script], capture_output=True, text=True, check=True
    )
    return dict(line.split() for line in shown.stdout.splitlines())
