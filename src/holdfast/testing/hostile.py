"""Texts that break careless code, to be drawn from wherever a test needs a text or an id."""

from __future__ import annotations

from typing import Final

STORABLE: Final = (
    "",
    " ",
    " \t\r\n ",
    "\n",
    "\u00a0\u2003\u3000",
    "\u200b\u200d\ufeff",
    "'",
    '"',
    "''; DROP TABLE memories; --",
    '"; DELETE FROM messages; --',
    "%_\\%",
    "\\",
    "\\u0000",
    "`$(touch x)`",
    "${HOME} {0} %s {{x}}",
    "../../etc/passwd",
    "a/b?c=d#e&f",
    "null",
    "None",
    "NaN",
    "true",
    "0",
    "-1e309",
    "*",
    "[]",
    '{"user_id": "bob"}',
    "<script>alert(1)</script>",
    "line one\r\nline two\u2028line three\u2029\x0b\x0c\x85",
    "\x01\x02\x07\x08\x1b[31mred\x1b[0m\x7f",
    "Straße STRASSE ﬁ ſ K",
    "İstanbul i̇stanbul ISTANBUL ıstanbul",
    "é e\u0301",
    "\u1100\u1161 가",
    "नमस्ते क्षत्रिय",
    "日本語のテキスト、改行なし。",
    "مرحبا بالعالم",
    "\u202eabc\u202c \u2067عربي\u2069",
    "👩‍👩‍👧‍👦🏳️‍🌈👍🏽🇩🇪",
    "\U0001f9ff\U0010fffd\ufffd\ufffe\uffff",
    "Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢L̠ͨͧͩ͘G̴̻͈͍͔̹̑͗̎̅͛́Ǫ̵̹̻̝̳͂̌̌͘!",
    "a" * 4_097,
    "word " * 2_000,
    "ß" * 300 + "\n" * 300,
)
"""Every record store must give these back as they were; each is also an acceptable id."""

REFUSED: Final = (
    "\x00",
    "before\x00after",
    "\ud800",
    "half a pair \udc00 inside",
    "\ud83d \ude00",
)
"""NUL, and lone surrogates, which are no Unicode text: refused before a store sees them."""
