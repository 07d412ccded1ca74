"""Prices: exact, rounded up, configured ones first; days and months of UTC."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from holdfast.backends.models.prices import ListPrices
from holdfast.config import ModelPrice, load_config
from holdfast.core.periods import day_number, day_text, span
from holdfast.core.pricing import Unpriced, configured_cost, saved_by_provider, worst_cost
from holdfast.core.usage import arranged, clean_groups, clean_where
from holdfast.errors import ConfigError, ValidationError
from holdfast.model import Cost, Usage
from holdfast.ports import UsageSum

NOW = 1_790_000_000.0
DEAR = ModelPrice(input=3.0, output=15.0, cached=0.3, cache_write=3.75, version="contract 7")

counts = st.integers(0, 10**7)
usages = st.builds(
    Usage,
    model=st.just("tests:m"),
    input_tokens=counts,
    cached_tokens=counts,
    cache_write_tokens=counts,
    output_tokens=counts,
)
per_million = st.one_of(st.none(), st.floats(0, 100))
prices = st.builds(
    ModelPrice,
    input=st.floats(0, 100),
    output=st.floats(0, 100),
    cached=per_million,
    cache_write=per_million,
)


def test_each_kind_of_token_has_its_price() -> None:
    usage = Usage(
        model="tests:m",
        input_tokens=1_000_000,
        cached_tokens=400_000,
        cache_write_tokens=100_000,
        output_tokens=200_000,
    )
    usd = 0.5 * 3.0 + 0.4 * 0.3 + 0.1 * 3.75 + 0.2 * 15.0
    cost = configured_cost(DEAR, usage)
    assert cost == Cost(nano_usd=round(usd * 10**9), version="contract 7")


def test_what_is_less_than_a_unit_is_rounded_up() -> None:
    cheap = ModelPrice(input=0.0001, output=0)
    assert configured_cost(cheap, Usage(model="m", input_tokens=1)).nano_usd == 1
    assert configured_cost(cheap, Usage(model="m")).nano_usd == 0


@given(prices, usages)
def test_no_call_costs_more_than_its_worst_case(price: ModelPrice, usage: Usage) -> None:
    known = ListPrices({"tests:m": price})
    worst = worst_cost(known, usage, NOW)
    found = known.cost(usage, NOW)
    assert worst is not None
    assert found is not None
    assert 0 <= found.nano_usd <= worst.nano_usd
    more = replace(usage, input_tokens=usage.input_tokens + 9, output_tokens=usage.output_tokens)
    assert worst_cost(known, more, NOW).nano_usd >= worst.nano_usd  # type: ignore[union-attr]


def test_nobody_knows_the_worst_case_of_an_unknown_model() -> None:
    assert worst_cost(Unpriced(), Usage(model="m", input_tokens=1), NOW) is None


def test_the_list_that_comes_with_the_package_is_used() -> None:
    import genai_prices

    listed = ListPrices({})
    usage = Usage(model="openai:gpt-4o-mini", input_tokens=1_000_000, output_tokens=1_000_000)
    cost = listed.cost(usage, NOW)
    assert cost == Cost(nano_usd=750_000_000, version=f"genai-prices {genai_prices.__version__}")
    half = replace(usage, cached_tokens=500_000)
    assert listed.cost(half, NOW).nano_usd < cost.nano_usd  # type: ignore[union-attr]
    for name in ("gemini:gemini-2.5-flash", "azure_openai:gpt-5-mini", "xai:grok-3"):
        assert listed.cost(replace(usage, model=name), NOW) is not None, name
    for name in ("openai:nothing-like-it", "ollama:llama3", "nobody", ""):
        assert listed.cost(replace(usage, model=name), NOW) is None, name


def test_configured_prices_go_first(caplog: pytest.LogCaptureFixture) -> None:
    own = ListPrices({"openai:gpt-4o-mini": DEAR})
    cost = own.cost(Usage(model="openai:gpt-4o-mini", output_tokens=1_000_000), NOW)
    assert cost == Cost(nano_usd=15 * 10**9, version="contract 7")
    own.load(["openai:gpt-4o-mini", "tests:unknown"])
    assert [record.args for record in caplog.records] == [("tests:unknown",)]


def test_prices_are_configured_by_name() -> None:
    config = load_config({"prices": {"openai:x": {"input": 1, "output": 2}}}, environ={}).config
    assert config.prices == {"openai:x": ModelPrice(input=1.0, output=2.0)}
    assert load_config(config).config.prices == config.prices
    for wrong in ({"openai:x": {"input": -1, "output": 0}}, {"openai:x": {"input": 1}}, [], "x"):
        with pytest.raises(ConfigError, match="prices"):
            load_config({"prices": wrong}, environ={})


@given(st.floats(0, 4e9))
def test_a_day_and_a_month_hold_their_moment(at: float) -> None:
    moment = datetime.fromtimestamp(at, UTC)
    assert day_text(day_number(at)) == f"{moment:%Y-%m-%d}"
    for period in ("day", "month"):
        begins, ends = span(period, at)  # type: ignore[arg-type]
        assert begins <= at < ends
        first = datetime.fromtimestamp(begins, UTC)
        assert (first.hour, first.minute, first.second) == (0, 0, 0)
        assert span(period, ends)[0] == ends  # type: ignore[arg-type]
        assert period == "day" or (first.day, first.month) == (1, moment.month)


def test_a_report_is_arranged() -> None:
    days = [
        UsageSum(group=("2026-02-01",), calls=1, nano_usd=9),
        UsageSum(group=("2026-01-31",), calls=2, nano_usd=1),
        UsageSum(group=("2026-01-02",), calls=4, nano_usd=1),
    ]
    assert [one.group[0] for one in arranged(("day",), days)] == [
        "2026-01-02", "2026-01-31", "2026-02-01",
    ]  # fmt: skip
    months = arranged(("month",), days)
    assert [(one.group, one.calls, one.nano_usd) for one in months] == [
        (("2026-01",), 6, 2),
        (("2026-02",), 1, 9),
    ]
    users = [
        UsageSum(group=("ann",), nano_usd=1),
        UsageSum(group=(None,), nano_usd=1, input_tokens=5),
        UsageSum(group=("bob",), nano_usd=2),
    ]
    assert [one.group[0] for one in arranged(("user",), users)] == ["bob", None, "ann"]


def test_what_cannot_be_summed_is_refused() -> None:
    assert clean_groups(["user", "day", "user"]) == ("user", "day")
    assert clean_where({"user": "ann"}) == (("user", "ann"),)
    for wrong in (["users"], ["day", "month"], [3]):
        with pytest.raises(ValidationError):
            clean_groups(wrong)  # type: ignore[arg-type]
    for chosen in ({"day": "2026-01-01"}, {"project": "x"}, {"user": ""}):
        with pytest.raises(ValidationError):
            clean_where(chosen)


def test_what_a_provider_had_in_its_cache_is_cheaper_by_so_much() -> None:
    """Its cost with the cache and what was saved are its cost without one."""
    listed = ListPrices({"tests:m": DEAR})
    usage = Usage(model="tests:m", input_tokens=1_000, cached_tokens=600, output_tokens=10)
    assert saved_by_provider(listed, usage, NOW) == 600 * (3_000 - 300)
    plain = listed.cost(replace(usage, cached_tokens=0), NOW)
    cost = listed.cost(usage, NOW)
    assert cost is not None
    assert plain is not None
    assert plain.nano_usd == cost.nano_usd + saved_by_provider(listed, usage, NOW)
    assert saved_by_provider(listed, replace(usage, cached_tokens=0), NOW) == 0
    assert saved_by_provider(Unpriced(), usage, NOW) == 0
    dearer = ListPrices({"tests:m": ModelPrice(input=1.0, output=1.0, cached=2.0)})
    assert saved_by_provider(dearer, usage, NOW) == 0, "nothing is made up"


def test_a_model_of_ones_own_machines_has_no_price_and_that_is_no_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ListPrices({}).load(["ollama:llama3.1", "vllm:Qwen/Qwen2.5", "lmstudio:x", "openai:unheard-of"])
    warned = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warned) == 1
    assert "openai:unheard-of" in warned[0]
