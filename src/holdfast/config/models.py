"""What the configuration of a model says beside its provider's settings: rate and fallbacks."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta

from holdfast.config.parts import part_settings
from holdfast.config.settings import Part
from holdfast.errors import ConfigError
from holdfast.model import Struct

_PER_MINUTE_MAX: Final = 1e12
_FALLBACKS_MAX: Final = 8

PerMinute = Annotated[float, Meta(gt=0, le=_PER_MINUTE_MAX)]


class _Use(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of ours inside a model's `config`."""

    requests_per_minute: PerMinute | None = None
    tokens_per_minute: PerMinute | None = None
    fallbacks: Annotated[tuple[Part, ...], Meta(max_length=_FALLBACKS_MAX)] = ()


class ChosenModel(Struct, frozen=True, kw_only=True):
    """A model that may be asked, and how often a minute; None: as often as one likes."""

    part: Part
    """With what its provider takes, and nothing else."""
    requests_per_minute: float | None
    tokens_per_minute: float | None

    @property
    def has_rate(self) -> bool:
        """Whether any was told."""
        return self.requests_per_minute is not None or self.tokens_per_minute is not None


def chosen_models(part: Part, place: str) -> list[ChosenModel]:
    """The model of a part and its fallbacks, in the order in which they are asked.

    `place` is the part's name, "llm" say. Raises ConfigError.
    """
    first, fallbacks = _split(part, place)
    found = [first]
    for number, other in enumerate(fallbacks):
        where = f"{place}.config.fallbacks[{number}]"
        model, more = _split(other, where)
        if more:
            raise ConfigError(
                f"{where}.config.fallbacks: a fallback has none of its own.",
                hint="List them all in one, in the order in which they are to be asked.",
            )
        found.append(model)
    return found


def chosen_embedder(part: Part, place: str) -> ChosenModel:
    """The embedder of a part, and its rate. Raises ConfigError."""
    chosen, fallbacks = _split(part, place)
    if fallbacks:
        raise ConfigError(
            f"{place}.config.fallbacks: an embedder has none.",
            hint="Vectors of another model cannot be compared with its own; leave it out.",
        )
    return chosen


def _split(part: Part, place: str) -> tuple[ChosenModel, tuple[Part, ...]]:
    names = _Use.__struct_fields__
    ours = {key: value for key, value in part.config.items() if key in names}
    theirs = {key: value for key, value in part.config.items() if key not in names}
    use = part_settings(_Use, Part(part.provider, ours), place)
    model = ChosenModel(
        part=Part(part.provider, theirs),
        requests_per_minute=use.requests_per_minute,
        tokens_per_minute=use.tokens_per_minute,
    )
    return model, use.fallbacks
