"""What the settings of a part say when they are wrong: which one, and what to do."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.config import Part, part_settings
from holdfast.errors import ConfigError
from holdfast.model import Struct


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    url: str
    size: int = 3


def settings(**config: Any) -> Settings:
    return part_settings(Settings, Part(provider="tests", config=config), "index")


def test_text_of_the_environment_is_a_number_where_one_is_wanted() -> None:
    assert settings(url="here", size="5") == Settings(url="here", size=5)


@pytest.mark.parametrize(
    ("config", "says", "hint"),
    [
        ({}, "index.config.url (configuration): is needed", "Set index.config.url."),
        ({"url": "x", "sise": 1}, "tests has no such setting", "'size'"),
        ({"url": "x", "size": "secret"}, "index.config.size", ""),
        ({"url": ["secret"]}, "index.config.url", ""),
    ],
)
def test_what_is_wrong_is_named(config: dict[str, Any], says: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings(**config)
    assert says in caught.value.message
    assert hint in caught.value.hint
    assert "secret" not in str(caught.value)
