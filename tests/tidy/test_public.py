"""The public list is what is visible, and importing the package is cheap."""

from __future__ import annotations

import json
import subprocess
import sys
from types import ModuleType

import pytest

import holdfast
from holdfast import errors

HEAVY = {
    "alembic",
    "matplotlib",
    "numpy",
    "openai",
    "pydantic",
    "pydantic_ai",
    "rich",
    "safetensors",
    "sqlalchemy",
    "sqlite3",
    "tokenizers",
    "typer",
    "wordllama",
    "yaml",
}
IMPORT_MS_MAX = 150

PROBE = """
import json, sys, time
start = time.perf_counter()
import holdfast
print(json.dumps([time.perf_counter() - start, sorted(sys.modules)]))
"""


def test_public_list_is_what_is_visible() -> None:
    visible = {
        name
        for name in dir(holdfast)
        if not name.startswith("_") and not isinstance(getattr(holdfast, name), ModuleType)
    } - {"TYPE_CHECKING", "annotations", "import_module"}
    assert visible | {"__version__"} == set(holdfast.__all__)
    assert sorted(set(holdfast.__all__), key=str) == sorted(holdfast.__all__, key=str)


@pytest.mark.parametrize("name", sorted(holdfast.__all__))
def test_public_name_exists_and_is_documented(name: str) -> None:
    value = getattr(holdfast, name)
    assert name.startswith("__") or value.__doc__


def test_every_error_is_public() -> None:
    tree = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.HoldfastError)
    }
    assert len(tree) > 10
    assert tree <= set(holdfast.__all__)


def test_every_error_has_a_code_of_its_own() -> None:
    classes = {
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, errors.HoldfastError)
    }
    codes = [value.__dict__.get("code") for value in classes]
    assert None not in codes
    assert len(set(codes)) == len(classes)


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="Memry"):
        _ = holdfast.Memry  # type: ignore[attr-defined]


def probe() -> tuple[float, set[str]]:
    answer = subprocess.run(
        [sys.executable, "-c", PROBE], capture_output=True, check=True, text=True
    )
    seconds, modules = json.loads(answer.stdout)
    return seconds, {module.split(".")[0] for module in modules}


def test_import_is_quick_and_light() -> None:
    probes = [probe() for _ in range(3)]
    assert min(seconds for seconds, _ in probes) * 1000 < IMPORT_MS_MAX
    assert HEAVY & probes[0][1] == set()


def test_heavy_modules_would_be_seen() -> None:
    answer = subprocess.run(
        [sys.executable, "-c", "import numpy\n" + PROBE],
        capture_output=True,
        check=True,
        text=True,
    )
    modules = {module.split(".")[0] for module in json.loads(answer.stdout)[1]}
    assert HEAVY & modules == {"numpy"}
