"""A language model behind the LLM port, through pydantic-ai's model classes.

Providers differ in how they can be held to a schema. The strictest way is tried first; a server
that says it does not know it gets the next one, and what was learned is remembered.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

from holdfast.backends.models.errors import translate
from holdfast.errors import BadAnswerError, ModelUnavailableError
from holdfast.model import Json, Usage
from holdfast.ports import Answer

if TYPE_CHECKING:
    from pydantic_ai.messages import ModelResponse
    from pydantic_ai.models import Model, ModelRequestParameters

Mode = Literal["schema", "tool", "json", "text"]
MODES: Final[tuple[Mode, ...]] = ("schema", "tool", "json", "text")
"""JSON Schema, a forced tool call, JSON mode with the schema in the prompt, the prompt alone."""

SETTINGS_TRIED_MAX: Final = 12
"""Requests one question may take while a server's abilities are found out."""

ANSWER_NAME: Final = "answer"

_ABOUT_FORM: Final = re.compile(
    r"response.?format|json.?schema|json.?object|json.?mode|structured.?output|grammar|guided"
    r"|output_(?:format|config)|\btools?\b|tool.?choice|function.?call|\bschema\b",
    re.IGNORECASE,
)
"""What servers name when they refuse a way of structured output."""

_OPTIONAL: Final = ("temperature", "top_p", "top_k", "max_tokens")
"""Settings some models refuse; an answer without them is better than none."""


class PydanticLLM:
    """One model of one provider. Its repr and errors name it and hold no credential."""

    def __init__(
        self,
        name: str,
        model: Model,
        settings: Mapping[str, Any],
        close: Callable[[], Awaitable[None]],
        *,
        timed: bool = True,
        address: str | None = None,
    ) -> None:
        """`timed` tells the provider's library the time limit as well, where it takes one;
        `address`: the URL it is asked at."""
        self.name = name
        self.answer_tokens: int | None = settings.get("max_tokens")
        self.address = address
        self._timed = timed
        self._model = model
        self._settings = dict(settings)
        self._close = close
        self._mode: Mode = MODES[0]
        self._closed = False
        self._bounded = False
        """Whether no answer may be asked for without a bound."""

    def __repr__(self) -> str:
        return f"PydanticLLM({self.name!r})"

    async def complete(
        self, system: str, user: str, *, schema: Mapping[str, Json], timeout_s: float
    ) -> Answer:
        """One answer, in the strictest form the server knows; see `ports.LLM`."""
        with translate(self.name):
            async with asyncio.timeout(timeout_s):
                response = await self._ask(system, user, schema, timeout_s)
        return self._answer(response)

    def bound(self, tokens: int) -> int:
        """See `ports.BoundLLM`."""
        self._bounded = True
        return int(self._settings.setdefault("max_tokens", tokens))

    async def close(self) -> None:
        """Release connections. Idempotent."""
        if not self._closed:
            self._closed = True
            await self._close()

    async def _ask(
        self, system: str, user: str, schema: Mapping[str, Json], timeout_s: float
    ) -> ModelResponse:
        from pydantic_ai.exceptions import ModelHTTPError, UserError

        limit = {"timeout": timeout_s} if self._timed else {}
        for _ in range(SETTINGS_TRIED_MAX):
            mode, settings = self._mode, dict(self._settings)
            try:
                return await self._request(mode, settings | limit, system, user, schema)
            except UserError:
                if not self._step_down(mode):
                    raise
            except ModelHTTPError as error:
                if not self._adapt(error, mode, settings):
                    raise
        raise ModelUnavailableError(f"{self.name} refuses every form of the request.")

    async def _request(
        self,
        mode: Mode,
        settings: dict[str, Any],
        system: str,
        user: str,
        schema: Mapping[str, Json],
    ) -> ModelResponse:
        from pydantic_ai.direct import model_request
        from pydantic_ai.messages import ModelRequest, UserPromptPart

        # The types of settings differ by provider; each takes the common ones.
        chosen: Any = settings
        return await model_request(
            self._model,
            [ModelRequest(parts=[UserPromptPart(content=user)], instructions=system)],
            model_settings=chosen,
            model_request_parameters=_parameters(mode, schema),
            instrument=False,
        )

    def _adapt(self, error: Any, mode: Mode, settings: Mapping[str, Any]) -> bool:
        """Learn from a refusal what the server does not know; False if it is about else."""
        from pydantic_ai.exceptions import ModelContextWindowExceededError

        if error.status_code not in {400, 404, 405, 415, 422, 501}:
            return False
        if isinstance(error, ModelContextWindowExceededError):
            return False
        said = str(error.body)
        unknown = [key for key in _OPTIONAL if key in settings and _names(said, key)]
        if self._bounded and "max_tokens" in unknown:
            return False
        for key in unknown:
            self._settings.pop(key, None)
        return bool(unknown) or (bool(_ABOUT_FORM.search(said)) and self._step_down(mode))

    def _step_down(self, mode: Mode) -> bool:
        """Use the next way after `mode`, unless another call has already gone on."""
        if mode == MODES[-1]:
            return False
        following = MODES[MODES.index(mode) + 1]
        if MODES.index(self._mode) < MODES.index(following):
            self._mode = following
        return True

    def _answer(self, response: ModelResponse) -> Answer:
        text = _text(response)
        used = response.usage
        usage = Usage(
            model=self.name,
            input_tokens=used.input_tokens,
            cached_tokens=used.cache_read_tokens,
            cache_write_tokens=used.cache_write_tokens,
            output_tokens=used.output_tokens,
        )
        if not text.strip():
            refused = response.finish_reason == "content_filter"
            reason = "refused to answer" if refused else "gave an empty answer"
            raise BadAnswerError(f"{self.name} {reason}.", usage=usage)
        return Answer(text=text, usage=usage, truncated=response.finish_reason == "length")


def _names(said: str, key: str) -> bool:
    """Whether an error is about a setting, under the names it has in the providers' APIs."""
    words = {"max_tokens": "max_(?:completion_|output_)?tokens"}.get(key, key)
    return re.search(rf"\b{words}\b", said) is not None


def _parameters(mode: Mode, schema: Mapping[str, Json]) -> ModelRequestParameters:
    """How the library is told to hold the model to the schema."""
    from pydantic_ai.models import ModelRequestParameters
    from pydantic_ai.output import OutputObjectDefinition
    from pydantic_ai.tools import ToolDefinition

    if mode == "text":
        return ModelRequestParameters()
    if mode == "tool":
        tool = ToolDefinition(
            name=ANSWER_NAME,
            parameters_json_schema=dict(schema),
            description="Give the answer.",
            kind="output",
        )
        return ModelRequestParameters(
            output_mode="tool", output_tools=[tool], allow_text_output=False
        )
    return ModelRequestParameters(
        output_mode="native" if mode == "schema" else "prompted",
        output_object=OutputObjectDefinition(json_schema=dict(schema), name=ANSWER_NAME),
    )


def _text(response: ModelResponse) -> str:
    """The answer: the tool call's arguments, else the text, else what was thought aloud.

    Reasoning models on local servers put the whole answer into `reasoning_content`.
    """
    from pydantic_ai.messages import TextPart, ThinkingPart, ToolCallPart

    calls = [part.args for part in response.parts if isinstance(part, ToolCallPart)]
    texts = [part.content for part in response.parts if isinstance(part, TextPart)]
    thoughts = [part.content for part in response.parts if isinstance(part, ThinkingPart)]
    spoken = _merged(calls) or "".join(texts)
    return spoken if spoken.strip() else "\n".join(thoughts)


def _merged(calls: Sequence[Any]) -> str:
    """The arguments of the answer's tool call.

    Some models call the tool once per item: lists of the same name are then joined, so that no
    item is lost. Arguments that are no JSON objects are left to the parser as they are.
    """
    if len(calls) <= 1:
        (call,) = calls or ("",)
        return call if isinstance(call, str) else json.dumps(call or {}, ensure_ascii=False)
    merged: dict[str, Any] = {}
    for call in calls:
        try:
            given = json.loads(call) if isinstance(call, str) else call
        except ValueError:
            return str(calls[0])
        for key, value in (given if isinstance(given, dict) else {}).items():
            both_lists = isinstance(value, list) and isinstance(merged.get(key), list)
            merged[key] = merged[key] + value if both_lists else value
    return json.dumps(merged, ensure_ascii=False)
