"""Presidio beside the patterns: against a fake of it, and the real one where it is installed."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from holdfast.backends.redactors.providers import build
from holdfast.config import Part
from holdfast.errors import MissingExtraError

TEXT = "Alice Smith writes from bob@example.com and pays with 4111 1111 1111 1111."


class FakeEngine:
    """Stands for Presidio's analyzer: knows one name, and calls a card what Presidio calls it."""

    removed: list[tuple[str, str]]

    def __init__(self, *, nlp_engine: Any, supported_languages: list[str]) -> None:
        FakeEngine.removed = []
        self.registry = SimpleNamespace(remove_recognizer=self._remove)
        self.languages = supported_languages

    def _remove(self, name: str, language: str) -> None:
        FakeEngine.removed.append((name, language))

    def analyze(self, *, text: str, language: str, score_threshold: float) -> list[Any]:
        assert language in self.languages
        found = [("PERSON", "Alice Smith", 0.85), ("CREDIT_CARD", "4111 1111 1111 1111", 1.0)]
        return [
            SimpleNamespace(start=text.index(value), end=text.index(value) + len(value),
                            entity_type=kind, score=score)
            for kind, value, score in found
            if value in text and score >= score_threshold
        ]  # fmt: skip


class FakeProvider:
    """Stands for what makes Presidio's language engine."""

    def __init__(self, *, nlp_configuration: dict[str, Any]) -> None:
        assert nlp_configuration["nlp_engine_name"] == "spacy"

    def create_engine(self) -> object:
        return object()


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def module(name: str, **content: Any) -> None:
        made = ModuleType(name)
        vars(made).update(content)
        monkeypatch.setitem(sys.modules, name, made)

    known = SimpleNamespace(is_package=lambda name: name == "xx_installed")
    module("spacy", util=known)
    module("presidio_analyzer", AnalyzerEngine=FakeEngine)
    module("presidio_analyzer.nlp_engine", NlpEngineProvider=FakeProvider)
    monkeypatch.delitem(sys.modules, "holdfast.backends.redactors.presidio", raising=False)
    yield
    sys.modules.pop("holdfast.backends.redactors.presidio", None)


def part(**config: Any) -> Part:
    return Part(provider="presidio", config={"model": "xx_installed", **config})


async def found(part: Part) -> list[tuple[str, str]]:
    redactor, _ = build(part)
    [passages] = await redactor.find([TEXT])
    return [(one.kind, TEXT[one.start : one.end]) for one in passages]


@pytest.mark.usefixtures("fake")
async def test_what_presidio_and_the_patterns_find_is_one() -> None:
    assert await found(part()) == [
        ("PERSON", "Alice Smith"),
        ("EMAIL", "bob@example.com"),
        ("CARD", "4111 1111 1111 1111"),
    ]
    assert await found(part(score=0.9)) == [
        ("EMAIL", "bob@example.com"),
        ("CARD", "4111 1111 1111 1111"),
    ]
    assert await found(part(kinds=["PERSON"])) == [("PERSON", "Alice Smith")]


@pytest.mark.usefixtures("fake")
async def test_what_would_call_out_is_taken_out() -> None:
    build(part(language="de"))
    assert FakeEngine.removed == [("EmailRecognizer", "de")]


@pytest.mark.usefixtures("fake")
async def test_a_model_that_is_not_installed_is_not_downloaded() -> None:
    with pytest.raises(MissingExtraError, match="xx_absent"):
        build(part(model="xx_absent"))


@pytest.mark.filterwarnings("ignore")
async def test_the_real_presidio_if_it_is_installed(tmp_path: Path) -> None:
    pytest.importorskip("presidio_analyzer")
    nlp = importlib.import_module("spacy").blank("en")
    ruler = nlp.add_pipe("entity_ruler")
    ruler.add_patterns([{"label": "PERSON", "pattern": "Alice Smith"}])
    nlp.to_disk(tmp_path / "model")
    assert await found(part(model=str(tmp_path / "model"))) == [
        ("PERSON", "Alice Smith"),
        ("EMAIL", "bob@example.com"),
        ("CARD", "4111 1111 1111 1111"),
    ]
