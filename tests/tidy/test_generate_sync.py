"""The generator of the synchronous class, on a small class of each kind of method."""

from __future__ import annotations

import asyncio
import sys
import types
from typing import Any

import pytest

from holdfast import caller
from holdfast.errors import ClosedError
from tidy import source
from tools import generate_sync as generator

SAMPLE = '''
"""Sample."""
from __future__ import annotations
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self
if TYPE_CHECKING:
    from decimal import Decimal

_UNSET = object()

class AsyncMemory:
    """Use it as `async with AsyncMemory() as memory: await memory.add("x")`."""

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        self.config = config
        self.opened = False

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> AsyncMemory:
        """Make one from a configuration."""
        return cls(config)

    async def open(self) -> None:
        """Open it."""
        if self.config and self.config.get("broken"):
            raise ValueError("broken")
        self.opened = True

    async def add(self, text: str, /, *more: str, user_id: str | None = None,
                  price: Decimal | None = None, mark: object = _UNSET, **rest: Any) -> list[Any]:
        """Keep it.

        `await memory.add("x")` gives all arguments back.
        """
        return [text, more, user_id, price, mark is _UNSET, rest]

    def plain(self, value: int = 3) -> int:
        """Answers at once."""
        return value + 1

    @property
    def project(self) -> str:
        """Its name."""
        return "p"

    async def _secret(self) -> None:
        """Not public."""

    def close(self) -> None:
        """End."""
        raise AssertionError("blocks")

    async def aclose(self) -> None:
        """End in good order."""
        self.opened = False

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()
'''


class Loop:
    """Stands in for `holdfast.loop.LoopThread`."""

    closed = 0

    def __init__(self) -> None:
        self.open = True

    def run(self, coroutine: Any) -> Any:
        if not self.open:
            coroutine.close()
            raise ClosedError("closed")
        return asyncio.run(coroutine)

    def close(self) -> None:
        type(self).closed += self.open
        self.open = False


@pytest.fixture
def derived(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The derived class of the sample, ready to use."""
    client = types.ModuleType("holdfast.client")
    exec_(SAMPLE, client)
    loop = types.ModuleType("holdfast.loop")
    loop.LoopThread = Loop  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "holdfast.client", client)
    monkeypatch.setitem(sys.modules, "holdfast.loop", loop)
    monkeypatch.setattr(Loop, "closed", 0)
    module = types.ModuleType("derived")
    exec_(generator.derive(SAMPLE), module)
    return module.Memory


def exec_(text: str, module: types.ModuleType) -> None:
    """Fill a module from source text, as importing it would."""
    code = compile(text, module.__name__, "exec")
    types.FunctionType(code, vars(module))()


def test_methods_pass_everything_on(derived: Any) -> None:
    memory = derived()
    assert memory._async.opened
    assert memory.add("a") == ["a", (), None, None, True, {}]
    assert memory.add("a", "b", user_id="u", price=1, mark=2, x=3) == [
        *("a", ("b",), "u", 1),
        *(False, {"x": 3}),
    ]
    assert memory.plain(4) == 5
    assert memory.project == "p"
    assert not hasattr(memory, "_secret")


def test_classmethod_and_context_manager(derived: Any) -> None:
    with derived.from_config({"a": 1}) as memory:
        assert isinstance(memory, derived)
        assert memory._async.config == {"a": 1}
    assert not memory._async.opened
    assert Loop.closed == 1


def test_closing_twice_is_fine_and_using_afterwards_is_not(derived: Any) -> None:
    memory = derived()
    memory.close()
    memory.close()
    assert not hasattr(memory, "aclose")
    assert Loop.closed == 1
    with pytest.raises(ClosedError):
        memory.add("a")


def test_failed_start_leaves_no_loop(derived: Any) -> None:
    with pytest.raises(ValueError, match="broken"):
        derived({"broken": True})
    assert Loop.closed == 1


def test_documentation_speaks_of_the_other_form(derived: Any) -> None:
    assert derived.__doc__ == 'Use it as `with Memory() as memory: memory.add("x")`.'
    assert '`memory.add("x")`' in derived.add.__doc__
    assert "Keep it.\n\n" in derived.add.__doc__


def test_annotations_need_no_more_imports_than_the_source() -> None:
    text = generator.derive(SAMPLE)
    assert "if TYPE_CHECKING:\n    from decimal import Decimal\n" in text
    assert "from holdfast.client import _UNSET, AsyncMemory\n" in text
    assert "await" not in text
    assert "async def" not in text


def test_formatted_and_short() -> None:
    assert source.too_long(generator.derive(SAMPLE)) == []


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("class AsyncMemory", "class Other", "no class AsyncMemory"),
        ("async def", "def", "nothing to derive from"),
        ("return value + 1", "yield value", "no rule for the generator"),
        ("    def plain", "    @cache\n    def plain", "no rule for AsyncMemory.plain"),
        ("from decimal import Decimal", "pass", "Decimal"),
        ("async def aclose", "async def shut", "lacks \\['aclose'\\]"),
        ("price: Decimal", "work: Decimal", "an argument called work"),
    ],
)
def test_what_has_no_rule_is_refused(old: str, new: str, reason: str) -> None:
    assert old in SAMPLE
    with pytest.raises(generator.CannotDeriveError, match=reason):
        generator.derive(SAMPLE.replace(old, new))


def test_a_warning_looks_for_the_coroutine_where_the_generator_keeps_it() -> None:
    assert caller.WORK == generator.WORK
