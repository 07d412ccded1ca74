"""How many tokens a request can have at most, whatever the model's tokenizer is.

Tokenizers of today's models make at most one token of each byte of UTF-8: byte-level BPE merges
bytes, SentencePiece falls back on them, WordPiece makes at most one of each character. Some bring
text into a normal form before, which may be longer: the compatibility decomposition is the longest.
What a provider puts around the texts is bounded by a generous number.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from holdfast.model import Json, Usage

AROUND_QUESTION_TOKENS: Final = 2_048
"""Of the roles, and the frame of a tool or of structured output, which providers tell as some
hundreds."""
AROUND_TEXT_TOKENS: Final = 64
"""Of the marks at both ends of a text, or a piece of one, and what tells its purpose."""
_CHARS_PER_TOKEN: Final = 4
_ANSWER_TOKENS: Final = 300


def tokens_of(text: str) -> int:
    """No tokenizer makes more tokens of this text."""
    size = len(text.encode("utf-8", "replace"))
    if text.isascii():
        return size
    return max(size, len(unicodedata.normalize("NFKD", text).encode("utf-8", "replace")))


def question_usage(
    model: str, system: str, user: str, schema: Mapping[str, Json], answer_tokens: int
) -> Usage:
    """The most one question can take. The schema may be written twice: some ways of structured
    output repeat it in the text."""
    form = 2 * tokens_of(msgspec.json.encode(schema).decode())
    asked = tokens_of(system) + tokens_of(user) + form + AROUND_QUESTION_TOKENS
    return Usage(model=model, input_tokens=asked, output_tokens=answer_tokens)


def texts_usage(model: str, texts: Sequence[str]) -> Usage:
    """The most that embedding texts can take. Long ones are cut into pieces, of which each has
    marks; a piece has 8 bytes at least, and marks that are no more than its share of the sum."""
    asked = sum(2 * tokens_of(text) + AROUND_TEXT_TOKENS for text in texts)
    return Usage(model=model, input_tokens=asked)


def likely_question(model: str, system: str, user: str, schema: Mapping[str, Json]) -> Usage:
    """About what one question takes, for estimates."""
    size = len(system) + len(user) + len(msgspec.json.encode(schema))
    return Usage(
        model=model, input_tokens=size // _CHARS_PER_TOKEN + 1, output_tokens=_ANSWER_TOKENS
    )


def likely_texts(model: str, texts: Sequence[str]) -> Usage:
    """About what embedding texts takes, for estimates."""
    return Usage(model=model, input_tokens=sum(map(likely_tokens, texts)))


def likely_tokens(text: str) -> int:
    """About how many tokens a text has."""
    return len(text) // _CHARS_PER_TOKEN + 1
