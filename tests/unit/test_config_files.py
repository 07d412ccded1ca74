"""Configuration files: which one is read, what is filled in, what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.config import Resolved, load_config
from holdfast.config.sources import FILE_BYTES_MAX
from holdfast.errors import ConfigError


def written(tmp_path: Path, name: str, text: str | bytes) -> Path:
    file = tmp_path / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def load(file: Path | str | None, **environ: str) -> Resolved:
    return load_config(file, environ=environ)


def message(file: Path | str | None, **environ: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(file, **environ)
    return str(caught.value)


@pytest.mark.parametrize("as_text", [True, False])
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.yaml", "project: shop\nllm:\n  provider: openai\n  config: {temperature: 0.5}\n"),
        ("a.YML", '{"project": shop, "llm": {"provider": openai, "config": {"temperature": 0.5}}}'),
        ("a.toml", 'project = "shop"\n[llm]\nprovider = "openai"\nconfig.temperature = 0.5\n'),
        ("b.toml", '\ufeffproject="shop"\n[llm]\nprovider="openai"\nconfig.temperature=0.5'),
    ],
)  # fmt: skip
def test_yaml_and_toml_say_the_same(
    tmp_path: Path, name: str, text: str | bytes, as_text: bool
) -> None:
    file = written(tmp_path, name, text)
    resolved = load(str(file) if as_text else file)
    assert resolved.config.project == "shop"
    assert resolved.config.llm is not None
    assert resolved.config.llm.config == {"temperature": 0.5}
    assert resolved.origins["project"] == f"file {file}"


def test_which_file_is_read(tmp_path: Path) -> None:
    given = written(tmp_path, "given.toml", 'project = "given"')
    named = written(tmp_path, "named.toml", 'project = "named"')
    environ = {"HOLDFAST_HOME": str(tmp_path)}
    assert load(None, **environ).config.project == "default"
    usual = written(tmp_path, "config.toml", 'project = "usual"')
    assert load(None, **environ).origins["project"] == f"file {usual}"
    environ["HOLDFAST_CONFIG"] = str(named)
    assert load(None, **environ).config.project == "named"
    assert load(given, **environ).config.project == "given"


def test_a_mapping_is_laid_over_the_file(tmp_path: Path) -> None:
    written(tmp_path, "config.toml", 'project = "usual"\nworkers = 7')
    resolved = load_config({"project": "mine"}, environ={"HOLDFAST_HOME": str(tmp_path)})
    assert (resolved.config.project, resolved.config.workers) == ("mine", 7)


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n"])
def test_an_empty_file_sets_nothing(tmp_path: Path, text: str) -> None:
    assert set(load(written(tmp_path, "a.yaml", text)).origins.values()) == {"default"}


def test_relative_paths_start_at_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "etc"
    folder.mkdir()
    file = written(folder, "a.toml", 'path = "data"')
    assert load(file).config.path == str(folder / "data")
    monkeypatch.chdir(tmp_path)
    assert load("etc/a.toml").config.path == str(folder / "data")
    assert load(file, HOLDFAST_PATH="data").config.path == str(tmp_path / "data")


FILLED = """
project: "${PROJECT}"
threshold: ${THRESHOLD:-0.25}
workers: "${WORKERS}"
custom_instructions: "a $${b} $c ${D:-} ${E:-x y}"
llm:
  provider: openai
  config:
    api_key: ${KEY}
    stop: ["${PROJECT}", "${PROJECT}-${PROJECT}"]
"""


def test_variables_are_filled_in(tmp_path: Path) -> None:
    file = written(tmp_path, "a.yaml", FILLED)
    config = load(file, PROJECT="shop", WORKERS="4", KEY="sk-${NOT}", E="").config
    assert (config.project, config.threshold, config.workers) == ("shop", 0.25, 4)
    assert config.custom_instructions == "a ${b} $c  x y"
    assert config.llm is not None
    assert config.llm.config == {"api_key": "sk-${NOT}", "stop": ["shop", "shop-shop"]}


def test_a_missing_variable_is_named_with_its_place(tmp_path: Path) -> None:
    file = written(tmp_path, "a.yaml", FILLED)
    found = message(file, PROJECT="shop", WORKERS="4")
    assert found.startswith(f"llm.config.api_key (file {file}): the environment variable KEY")
    assert "${KEY:-default}" in found


@pytest.mark.parametrize("text", ["${", "${}", "${a-b}", "${A", "${A:-${B}}", "${1}", "x ${ A }"])
def test_a_malformed_variable_is_an_error(tmp_path: Path, text: str) -> None:
    file = written(tmp_path, "a.yaml", f"project: '{text}'")
    assert "${ does not begin the name of a variable" in message(file, A="1", B="2")


def test_mappings_in_code_are_not_filled_in() -> None:
    given = {"custom_instructions": "${HOME}"}
    assert load_config(given, environ={}).config.custom_instructions == "${HOME}"


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.yaml", "- 1\n- 2\n", "holds no mapping"),
        ("a.yaml", "just text", "holds no mapping"),
        ("a.yaml", "a: 1\nb: [1, 2\nc: 3\n", "line 3: invalid YAML"),
        ("a.yaml", "a: !!python/object:os.system {}", "line 1: invalid YAML"),
        ("a.yaml", "a: 2024-13-45", "invalid YAML: month must be in 1..12"),
        ("a.yaml", "a: !!timestamp x", "invalid YAML"),
        ("a.yaml", "a: !!bool x", "invalid YAML"),
        ("a.yaml", "a: \x01", "invalid YAML"),
        ("a.yaml", "? [a]\n: b", "invalid YAML"),
        ("a.yaml", "a: 1\n---\nb: 2", "invalid YAML"),
        ("a.yaml", "project: 2024-01-01", "expected text, got date"),
        ("a.yaml", "workers:", "expected a whole number from 0 to 64, got nothing"),
        ("a.yaml", "workers: few", "expected a whole number from 0 to 64, got text"),
        ("a.yaml", "1: 2", "a setting's name is text, not int"),
        ("a.yaml", "llm: &a {provider: x, config: {b: *a}}", "nested too deeply"),
        ("a.yaml", "a: " + "[" * 5000, "nested too deeply"),
        ("a.yaml", b"a: 1\nproject: \xff", "line 2: not UTF-8"),
        ("a.yaml", b" " * (FILE_BYTES_MAX + 1), "larger than"),
        ("a.toml", "project = 'a'\nthreshold = = 3", "invalid TOML"),
        ("a.toml", "project = 'a'\nthreshold = = 3", "line 2"),
        ("a.toml", "a = " + "[" * 5000, "nested too deeply"),
        ("a.toml", "a = 1\na = 2", "invalid TOML"),
        ("a.toml", "thresold = 1", "Did you mean 'threshold'?"),
        ("a.toml", "[llm]\nprovder = 'x'", "llm.provder"),
        ("a.json", "{}", "neither YAML nor TOML"),
        ("config", "{}", "neither YAML nor TOML"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(
    tmp_path: Path, name: str, text: str | bytes, expected: str
) -> None:
    file = written(tmp_path, name, text)
    found = message(file)
    assert expected in found
    assert str(file) in found
    assert "\n" not in found


def test_yaml_that_multiplies_itself_ends_soon(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x]"] + [f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 60)]
    assert "too" in message(written(tmp_path, "a.yaml", "\n".join(lines)))


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    missing = tmp_path / "missing.toml"
    assert message(missing).startswith(f"There is no file {missing}.")
    assert "There is no file" in message(None, HOLDFAST_CONFIG=str(missing))
    folder = tmp_path / "folder.toml"
    folder.mkdir()
    assert "cannot be read" in message(folder)
    assert "path of the configuration is empty" in message("")
    assert "cannot be read" in message("x" * 5000 + ".toml")
    assert "NUL" in message("a\x00.toml")


def test_an_odd_home_has_no_file_and_is_named(tmp_path: Path) -> None:
    assert load(None, HOLDFAST_HOME="x" * 5000).config.project == "default"
    assert "environment HOLDFAST_HOME" in message(None, HOLDFAST_HOME="a\x00b")
