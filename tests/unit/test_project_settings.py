"""Settings of projects: what extraction is told of them, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.core.project_settings import IN_ENGLISH, NAMES, clean_settings, instructions_of
from holdfast.core.prompt import INSTRUCTIONS_CHARS_MAX
from holdfast.errors import ValidationError

LONGEST: dict[str, Any] = {
    "custom_instructions": "x" * (INSTRUCTIONS_CHARS_MAX - 1_500),
    "usecase_setting": "y" * 1_000,
    "multilingual": False,
}


def test_users_and_agents_have_instructions_of_their_own() -> None:
    both = {"custom_instructions": "users", "agent_custom_instructions": "agents"}
    assert instructions_of(both, of_user=True) == "users"
    assert instructions_of(both, of_user=False) == "agents"
    assert instructions_of({"custom_instructions": "users"}, of_user=False) == "users"
    assert instructions_of({"agent_custom_instructions": "agents"}, of_user=True) is None


def test_every_setting_is_heeded() -> None:
    told = instructions_of(
        {"usecase_setting": "support", "custom_instructions": "Keep bugs.", "multilingual": False},
        of_user=True,
    )
    assert told == f"The memories are for this use: support\nKeep bugs.\n{IN_ENGLISH}"
    assert instructions_of({"multilingual": True}, of_user=True) is None
    assert instructions_of({}, of_user=True) is None


def test_the_longest_settings_fit_into_the_prompt() -> None:
    told = instructions_of(clean_settings(LONGEST), of_user=True)
    assert told is not None
    assert len(told) <= INSTRUCTIONS_CHARS_MAX


def test_nothing_else_is_a_setting() -> None:
    assert clean_settings({"description": None, "name": "n"}) == {}
    for wrong in ({"color": "red"}, {"custom_instruction": "x"}, {7: 1}, {None: 1}):
        with pytest.raises(ValidationError, match="Nothing of a project is called"):
            clean_settings(wrong)
    assert set(clean_settings(LONGEST)) <= NAMES


def test_empty_clears() -> None:
    cleared = {"custom_instructions": "", "custom_categories": [], "multilingual": None}
    assert clean_settings(cleared) == dict.fromkeys(cleared)


@pytest.mark.parametrize("name", ["decay", "memory_depth", "version", "enable_graph"])
def test_what_nothing_would_heed_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match=name):
        clean_settings({name: True})
    assert clean_settings({name: None}) == {}


WRONG: list[Any] = [
    None, "text", ["custom_instructions"], 7,
    {"custom_instructions": 7}, {"custom_instructions": []}, {"custom_instructions": {"a": 1}},
    {"agent_custom_instructions": False}, {"usecase_setting": b"x"},
    {"multilingual": "maybe"}, {"multilingual": ""}, {"multilingual": []}, {"multilingual": 0},
    {"custom_categories": ""}, {"custom_categories": "food"}, {"custom_categories": {"a": "b"}},
    {"custom_categories": [7.5]}, {"custom_categories": [object()]},
]  # fmt: skip


@pytest.mark.parametrize("values", WRONG)
def test_what_is_of_another_type_is_refused(values: Any) -> None:
    with pytest.raises(ValidationError):
        clean_settings(values)
