"""Settings: types and bounds, which source wins, where each came from, what is hidden."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from holdfast.config import Config, Part, Resolved, load_config
from holdfast.config.checks import HINTS, description_of, kind_of, variables
from holdfast.errors import ConfigError


def load(source: Any = None, environ: Mapping[str, str] | None = None, **more: Any) -> Resolved:
    """Load with an environment of the test's own."""
    return load_config(source, environ={"HOLDFAST_HOME": "/nowhere", **(environ or {})}, **more)


def message(source: Any = None, environ: Mapping[str, str] | None = None, **more: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        load(source, environ, **more)
    return str(caught.value)


def test_nothing_given_gives_defaults() -> None:
    resolved = load()
    assert resolved.config == Config(path="/nowhere")
    assert resolved.config.embedder == Part("wordllama")
    assert resolved.origins.pop("path") == "environment HOLDFAST_HOME"
    assert set(resolved.origins.values()) == {"default"}


def test_without_a_home_the_users_data_directory_is_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    resolved = load_config(environ={})
    assert Path(resolved.config.path).name == "holdfast"
    assert Path(resolved.config.path).is_absolute()
    assert resolved.origins["path"] == "default"


def test_the_real_environment_is_asked_by_default(
    monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    monkeypatch.setenv("HOLDFAST_THRESHOLD", "0.4")
    resolved = load_config()
    assert (resolved.config.threshold, resolved.config.path) == (0.4, str(home))


@pytest.fixture
def layered(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    file = tmp_path / "all.toml"
    file.write_text('project = "file"\nthreshold = 0.2\nworkers = 2\ntimezone = "Asia/Tokyo"\n')
    environ = {"HOLDFAST_CONFIG": str(file), "HOLDFAST_PROJECT": "env", "HOLDFAST_WORKERS": "3"}
    return file, environ


def test_argument_before_environment_before_file_before_default(
    layered: tuple[Path, dict[str, str]],
) -> None:
    file, environ = layered
    resolved = load({"project": "mapping", "workers": 4}, environ, overrides={"project": "over"})
    config = resolved.config
    assert (config.project, config.workers, config.threshold) == ("over", 4, 0.2)
    resolved = load(file, environ)
    config = resolved.config
    assert (config.project, config.workers, config.threshold) == ("env", 3, 0.2)
    assert (config.timezone, config.job_attempts_max) == ("Asia/Tokyo", 5)
    origins = resolved.origins
    assert origins["project"] == "environment HOLDFAST_PROJECT"
    assert origins["threshold"] == f"file {file}"
    assert origins["job_attempts_max"] == "default"


def test_origins_name_exactly_the_settings() -> None:
    resolved = load({"llm": {"provider": "openai", "config": {"model": "m"}}})
    assert set(resolved.origins) == set(resolved.settings())
    assert resolved.origins["llm.config.model"] == "argument"
    assert "llm" not in resolved.origins
    assert load().origins["llm"] == "default"


WORDS = {
    "HOLDFAST_TIMEZONE": "Asia/Tokyo",
    "HOLDFAST_PATH": "/x",
    "HOLDFAST_AUDIT": "writes",
    "HOLDFAST_AUDIT_READS": "durable",
}


def test_every_setting_but_the_parts_can_come_from_the_environment() -> None:
    environ = {
        name: WORDS.get(name, "1")
        for name, place in variables().items()
        if place in Config.__struct_fields__
    }
    resolved = load(None, environ)
    assert len(environ) == 20
    for name, place in variables().items():
        if name in environ:
            assert resolved.origins[place] == f"environment {name}"
            assert str(getattr(resolved.config, place)) in (environ[name], "1.0")


def test_an_empty_variable_is_not_set() -> None:
    assert load(None, {"HOLDFAST_PROJECT": " ", "HOLDFAST_WORKERS": ""}).config.workers == 1


def test_other_variables_of_that_prefix_do_not_disturb() -> None:
    assert load(None, {"HOLDFAST_PORT": "tcp://10.0.0.1:80"}).config == load().config


def test_parts_are_merged_key_by_key(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("llm: {provider: openai, config: {model: small, temperature: 0}}")
    environ = {"HOLDFAST_CONFIG": str(file), "HOLDFAST_LLM_MODEL": "large"}
    resolved = load({"llm": {"config": {"top_p": 0.5}}}, environ)
    assert resolved.config.llm == Part("openai", {"model": "large", "temperature": 0, "top_p": 0.5})
    assert resolved.origins["llm.provider"] == f"file {file}"
    assert resolved.origins["llm.config.model"] == "environment HOLDFAST_LLM_MODEL"
    assert resolved.origins["llm.config.top_p"] == "argument"


def test_another_provider_starts_with_nothing_of_the_former(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("llm: {provider: openai, config: {api_key: sk-of-openai}}")
    resolved = load(file, {"HOLDFAST_LLM_PROVIDER": "groq", "HOLDFAST_LLM_MODEL": "m"})
    assert resolved.config.llm == Part("groq", {"model": "m"})
    assert "llm.config.api_key" not in resolved.origins


def test_a_provider_named_above_its_settings_takes_them(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("llm: {config: {model: m}}")
    assert load(file, {"HOLDFAST_LLM_PROVIDER": "groq"}).config.llm == Part("groq", {"model": "m"})


def test_none_switches_an_optional_setting_off(layered: tuple[Path, dict[str, str]]) -> None:
    environ = {"HOLDFAST_LLM_PROVIDER": "openai", "HOLDFAST_CUSTOM_INSTRUCTIONS": "x"}
    resolved = load({"llm": None, "custom_instructions": None}, environ)
    assert resolved.config.llm is None
    assert resolved.config.custom_instructions is None
    assert resolved.origins["llm"] == "argument"
    assert "expected a number from 0 to 1, got nothing" in message({"threshold": None})


def test_a_config_object_is_complete_and_comes_back_unchanged() -> None:
    config = load({"path": "/a", "llm": {"provider": "openai", "config": {"k": [1]}}}).config
    environ = {"HOLDFAST_PROJECT": "other", "HOLDFAST_CONFIG": "/missing.toml"}
    again = load(config, environ)
    assert again.config == config
    assert set(again.origins.values()) == {"argument"}
    assert load(config, environ, overrides={"project": "p"}).config.project == "p"


def test_a_config_object_is_checked_too() -> None:
    wrong: Any = "high"
    assert message(Config(path="/a", threshold=wrong)).startswith("threshold (argument)")
    assert "no IANA time zone" in message(Config(path="/a", timezone="Mars"))


def test_parts_may_be_given_as_values() -> None:
    assert load({"llm": Part("openai", {"model": "m"})}).config.llm == Part(
        "openai", {"model": "m"}
    )


def test_what_the_caller_changes_later_does_not_matter() -> None:
    given: dict[str, Any] = {"llm": {"provider": "openai", "config": {"stop": ["a"]}}}
    config = load(given).config
    given["llm"]["config"]["stop"].append("b")
    assert config.llm == Part("openai", {"stop": ["a"]})


def test_paths_become_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    assert load({"path": "here"}).config.path == str(tmp_path / "here")
    assert load({"path": Path("/there")}).config.path == "/there"
    assert load({"path": "~/mine"}).config.path == "/home/somebody/mine"
    assert load(None, {"HOLDFAST_HOME": "near"}).config.path == str(tmp_path / "near")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ({"thresold": 1}, "thresold (argument): no such setting. Did you mean 'threshold'?"),
        ({"vectorstore": {}}, "Did you mean 'vector_store'?"),
        ({"zzz": 1}, "Known are: audit, audit_days, audit_reads, backup, breaker_failures,"),
        ({"threshold": 7}, "threshold (argument): expected a number from 0 to 1, got 7."),
        ({"threshold": "0.5"}, "expected a number from 0 to 1, got text."),
        ({"threshold": True}, "expected a number from 0 to 1, got true or false."),
        ({"threshold": float("nan")}, "expected a number from 0 to 1"),
        ({"threshold": float("inf")}, "expected a number from 0 to 1"),
        ({"workers": -1}, "expected a whole number from 0 to 64, got -1."),
        ({"workers": 1.5}, "expected a whole number from 0 to 64, got 1.5."),
        ({"workers": 10**400}, "expected a whole number from 0 to 64"),
        ({"project": 12}, "project (argument): expected text, got 12."),
        ({"project": " "}, "project (argument): is empty."),
        ({"project": "a\nb"}, "printable"),
        ({"project": "p" * 513}, "up to 512"),
        ({"path": ""}, "path (argument): is empty."),
        ({"path": "a\x00b"}, "path (argument): has a NUL character"),
        ({"path": "~nobody-of-that-name/x"}, "path (argument): cannot be made absolute"),
        ({"timezone": "Europe/Berlni"}, "Did you mean 'Europe/Berlin'?"),
        ({"timezone": "../etc/passwd"}, "is no IANA time zone"),
        ({"timezone": "America"}, "is no IANA time zone"),
        ({"timezone": "A" * 5000}, "is no IANA time zone"),
        ({"audit": "some"}, "audit (argument): there is no 'some'. Use auto, off, writes, all."),
        ({"audit_reads": "never"}, "Use batched, durable."),
        ({"audit_days": -1}, "expected a whole number from 0 to 36,500, got -1."),
        ({"content_key": ""}, "content_key (argument): is empty."),
        ({"content_key": "é" * 33}, "longer than 64 bytes"),
        ({"custom_instructions": "x" * 24_001}, "longer than 24,000 characters"),
        ({"custom_instructions": "\ud800"}, "half a surrogate pair"),
        ({"llm": "openai"}, "llm (argument): expected a mapping of provider and config, got text"),
        ({"llm": {}}, "llm (argument): the provider is missing."),
        ({"llm": {"provider": ""}}, "llm.provider (argument): expected the name of a provider."),
        ({"llm": {"provider": 3}}, "llm.provider (argument)"),
        ({"llm": {"provider": "x", "model": "y"}}, "What the model takes belongs in llm.config."),
        ({"llm": {"provider": "x", "config": 3}}, "llm.config (argument): expected a mapping"),
        ({"llm": {"provider": "x", "config": {1: 2}}}, "a setting's name is text, not int"),
        ({"embedder": None}, "embedder (argument): expected a mapping of provider and config"),
        ({"embedder": {"config": {"dimension": 256}}}, "Did you mean 'dimensions'?"),
        ({"embedder": {"config": {"dimensions": 128}}}, "gives 256 dimensions"),
        ({"embedder": {"config": {"dimensions": 256.0}}}, "gives 256 dimensions"),
        ({"records": {"config": {"path": "x"}}}, "records.config.path (argument): sqlite has no"),
        ({"records": {"config": {"path": "x"}}}, "Name its folder as `path`"),
        ({"index": {"config": {"url": "x"}}}, "index.config.url (argument): embedded has no such"),
        ({1: 2}, "a setting's name is text, not int"),
        ({"a\nb": 1}, "a?b (argument): no such setting."),
        (5, "not int"),
        ([("project", "x")], "not list"),
        (b"file.toml", "not bytes"),
    ],
)
def test_what_is_wrong_is_named(source: Any, expected: str) -> None:
    found = message(source)
    assert expected in found
    assert "\n" not in found


def test_the_longest_pause_of_a_breaker_is_at_least_the_first() -> None:
    assert load({"breaker_open_s": 40, "breaker_open_max_s": 40}).config.breaker_open_s == 40
    told = message({"breaker_open_s": 40})
    assert "breaker_open_max_s" in told
    assert "30 is less than breaker_open_s, which is 40" in told


def test_errors_from_the_environment_name_the_variable() -> None:
    expected = "threshold (environment HOLDFAST_THRESHOLD): expected a number from 0 to 1, got text"
    assert expected in message(None, {"HOLDFAST_THRESHOLD": "high"})
    assert "environment HOLDFAST_EMBEDDER_MODEL" in message(None, {"HOLDFAST_EMBEDDER_MODEL": "m"})
    assert "environment HOLDFAST_LLM_MODEL" in message(None, {"HOLDFAST_LLM_MODEL": "m"})


def test_cycles_and_floods_end() -> None:
    loop: dict[str, Any] = {"provider": "x"}
    loop["config"] = {"again": loop}
    assert "nested too deeply" in message({"llm": loop})
    flood = {"provider": "x", "config": {"many": list(range(20_000))}}
    assert "too large" in message({"llm": flood})


SECRETS = {
    "api_key": "s3cret",
    "aws_secret_access_key": "s3cret",
    "aws_session_token": "s3cret",
    "http_password": "s3cret",
    "azure_kwargs": {"default_headers": {"Api-Key": "s3cret", "Authorization": "s3cret"}},
    "keys": [{"apiKey": "s3cret"}],
    "token": 5_3_7_1_9,
    "base_url": "https://me:s3cret@example.com/v1",
}


def test_secrets_are_hidden() -> None:
    resolved = load(
        {"content_key": "s3cret", "llm": {"provider": "x", "config": dict(SECRETS)}},
    )
    shown = [str(resolved.settings()), repr(resolved), repr(resolved.config), str(resolved.config)]
    for text in shown:
        assert "s3cret" not in text
        assert "53719" not in text
        assert "example.com" in text
    assert resolved.config.content_key == "s3cret"
    assert resolved.config.llm == Part("x", SECRETS)


def test_what_is_no_secret_is_shown() -> None:
    config = {"max_tokens": 100, "model": "m", "api_key": None, "store": False}
    settings = load({"llm": {"provider": "x", "config": config}}).settings()
    assert {key: settings[f"llm.config.{key}"]["value"] for key in config} == config
    assert settings["content_key"] == {"value": None, "source": "default"}


def test_errors_hold_no_secrets() -> None:
    assert "s3cret" not in message({"content_key": "s3cret" * 20})
    assert "s3cret" not in message({"content_key": ["s3cret"]})
    assert "s3cret" not in message({"llm": "s3cret"})


def test_every_setting_is_described_and_bounded() -> None:
    for name in HINTS:
        assert description_of(name).endswith(".")
        assert kind_of(name).startswith(
            ("text", "a number from", "a whole number from", "a mapping", "true or false")
        )
    assert msgspec.structs.asdict(load().config).keys() == set(Config.__struct_fields__)


def test_importing_is_light() -> None:
    probe = "import sys, holdfast.config; print(*sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, check=True, text=True
    ).stdout.split()
    assert "msgspec" in found
    assert not {"yaml", "platformdirs", "numpy", "pydantic", "sqlalchemy"} & set(found)
