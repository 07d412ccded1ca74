"""What the package imports is what its metadata names, and the lock names exact versions only."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tidy import source

IMPORT_NAME = {
    "azure-identity": "azure",
    "azure-keyvault-keys": "azure",
    "google-cloud-kms": "google",
    "prometheus-client": "prometheus_client",
    "pyjwt": "jwt",
    "pystemmer": "Stemmer",
    "pyyaml": "yaml",
    "weaviate-client": "weaviate",
    "pydantic-ai-slim": "pydantic_ai",
    "sentence-transformers": "sentence_transformers",
}
FILES_ONLY = {"tzdata", "wordllama"}
"""Installed for their files, never imported: time zones for systems that have none, and the model
in wordllama's wheel (decision 0001)."""
COMES_WITH = {
    "botocore": "boto3",
    "openai": "pydantic-ai-slim",
    "httpx2": "pydantic-ai-slim",
    "anyio": "fastapi",
    "click": "typer",
    "genai_prices": "pydantic-ai-slim",
    "grpc": "qdrant-client",
    "portalocker": "qdrant-client",
    "psycopg_pool": "psycopg",
    "pydantic": "fastapi",
    "spacy": "presidio-analyzer",
    "starlette": "fastapi",
}
"""Imported modules that another dependency brings and whose versions it rules."""

NOT_INSTALLED = {"presidio_analyzer", "sentence_transformers"}
"""Packages that tests may do without: hundreds of megabytes, which `make` does not install."""


def project() -> dict[str, object]:
    with (source.ROOT / "pyproject.toml").open("rb") as file:
        table: dict[str, object] = tomllib.load(file)["project"]
    return table


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=!~ ]", line)[0].lower() for line in requirements}


def declared() -> tuple[set[str], set[str]]:
    """Names of the default install, and of the extras users may choose."""
    table = project()
    extras = table["optional-dependencies"]
    assert isinstance(extras, dict)
    default = table["dependencies"]
    assert isinstance(default, list)
    chosen = [line for extra, lines in extras.items() if extra != "dev" for line in lines]
    return names(default), names(chosen)


def imported(path: Path) -> set[str]:
    return source.imports(source.parse(path)) - set(sys.stdlib_module_names) - {"holdfast"}


def module_names(requirements: set[str]) -> set[str]:
    return {IMPORT_NAME.get(name, name.replace("-", "_")) for name in requirements}


def test_every_import_is_declared() -> None:
    default, extras = declared()
    known = module_names(default | extras)
    known |= {name for name, bringer in COMES_WITH.items() if bringer in default | extras}
    found = {
        f"{source.name(path)}: {name}"
        for path in source.python_files("src")
        for name in imported(path) - known
    }
    assert found == set()


def test_everything_declared_is_used() -> None:
    default, _ = declared()
    used = set().union(*(imported(path) for path in source.python_files("src")))
    assert module_names(default - FILES_ONLY) - used == set()
    assert FILES_ONLY & used == set()


def skipped_without(text: str) -> set[str]:
    """Packages without which tests in this text are skipped."""
    return set(re.findall(r'importorskip\(\s*"([\w.]+)"', text))


def test_tests_are_not_skipped_for_a_package_that_make_installs() -> None:
    texts = [path.read_text(encoding="utf-8") for path in source.python_files("tests")]
    assert set().union(*map(skipped_without, texts)) == NOT_INSTALLED
    assert skipped_without('x = pytest.importorskip("a' + '.b")') == {"a.b"}


def test_lock_names_exact_versions() -> None:
    lines = (source.ROOT / "requirements.lock").read_text().splitlines()
    pinned = [line for line in lines if not line.startswith("#")]
    assert len(pinned) > 40
    assert [line for line in pinned if not re.fullmatch(r"[\w.-]+==[\w.+!]+", line)] == []
    default, _ = declared()
    assert default - {line.split("==")[0].lower() for line in pinned} == set()


HEAVY = (
    "numpy", "sqlalchemy", "alembic", "sqlite3", "tokenizers", "Stemmer", "holdfast.engine",
    "holdfast.backends", "holdfast.assemble", "holdfast.client",
)  # fmt: skip


@pytest.mark.parametrize("name", ["Client", "AsyncClient"])
def test_a_client_loads_no_engine(name: str) -> None:
    script = f"import json, sys; from holdfast import {name}; print(json.dumps(list(sys.modules)))"
    shown = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert not set(json.loads(shown.stdout)) & set(HEAVY)
