"""Patterns of personal data and secrets, with their check digits where they have any.

Every pattern reads a text once: none can be made to search for long.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from holdfast.core.redact import apart
from holdfast.ports.redactor import Passage

Finder = Callable[[str], Iterator[tuple[int, int]]]
"""Where passages of one kind begin and end."""

_LETTERS: Final = r"A-Za-z\u00c0-\u024f\u0370-\u052f\u0590-\u06ff"
"""Letters of scripts with spaces between words: in others an address may follow a word at once."""

_EMAIL: Final = re.compile(
    rf"(?<![{_LETTERS}0-9._%+-])[{_LETTERS}0-9._%+'-]{{1,64}}@"
    rf"(?:[{_LETTERS}0-9](?:[{_LETTERS}0-9-]{{0,61}}[{_LETTERS}0-9])?\.){{1,8}}[{_LETTERS}]{{2,24}}"
)
_INTERNATIONAL: Final = re.compile(
    r"(?<![0-9A-Za-z+])(?:\+|00)[1-9](?:[ \u00a0()./-]{0,2}\d){6,14}(?!\d)"
)
_NATIONAL: Final = re.compile(
    r"(?<![0-9A-Za-z+.,/-])(?:\(0[1-9]\d{1,4}\)[ ]?|0[1-9]\d{1,4}[ /-])\d(?:[ -]?\d){4,9}(?!\d|,\d)"
    r"|(?<![0-9A-Za-z+.,/-])(?:\([2-9]\d\d\) ?|[2-9]\d\d[-. ])[2-9]\d\d[-. ]\d{4}(?!\d)"
)
_CARD: Final = re.compile(r"(?<![0-9A-Za-z])\d(?:[ -]?\d){12,18}(?!\d)")
_CARD_RANGES: Final = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})|(?:5[1-5]|2[2-7])\d{14}|3[47]\d{13}|3(?:0[0-5]|[689]\d)\d{11}"
    r"|35\d{14}|6(?:011|[245]\d\d)\d{12,15}"
)
_IBAN: Final = re.compile(r"(?<![0-9A-Za-z])[A-Za-z]{2}\d{2}(?:[ -]?[0-9A-Za-z]){11,30}")
_IBAN_LENGTHS: Final[Mapping[str, int]] = {
    country: int(length)
    for length, countries in {
        "15": "NO", "16": "BE", "18": "DK FO FI GL NL SD", "19": "MK SI", "20": "AT BA EE KZ LT LU",
        "21": "CH HR LI LV", "22": "BG BH CR DE GB GE IE ME RS VA", "23": "AE GI IL IQ OM SO TL",
        "24": "AD CZ ES MD PK RO SA SE SK TN VG", "25": "LY PT ST",
        "26": "IS TR", "27": "BI DJ FR GR IT MC MR SM", "28": "AL AZ BY CY DO GT HU LB PL SV",
        "29": "BR EG PS QA UA", "30": "JO KW MU", "31": "MT SC", "32": "LC", "33": "RU",
    }.items()
    for country in countries.split()
}  # fmt: skip
"""Lengths by the register of SWIFT."""
_IP4: Final = re.compile(r"(?<![0-9A-Za-z.-])\d{1,3}(?:\.\d{1,3}){3}(?![0-9A-Za-z-]|\.\d)")
_IP6: Final = re.compile(
    r"(?<![0-9A-Za-z:.])[0-9A-Fa-f:]{2,39}(?:\.\d{1,3}){0,3}(?![0-9A-Za-z:]|\.\d)"
)
_SSN: Final = re.compile(
    r"(?<![0-9A-Za-z-])(?!000|666|9)\d{3}([- ])(?!00)\d\d\1(?!0000)\d{4}(?![0-9A-Za-z-])"
)
_TAX_ID: Final = re.compile(r"(?<![0-9A-Za-z])[1-9]\d ?\d{3} ?\d{3} ?\d{3}(?![0-9A-Za-z])")
_TOKEN: Final = re.compile(
    r"(?<![0-9A-Za-z_-])(?:"
    r"(?:sk|pk|rk|m0|hfk|sess)[-_][0-9A-Za-z_-]{16,}|gh[pousr]_[0-9A-Za-z]{30,}"
    r"|github_pat_[0-9A-Za-z_]{30,}|glpat-[0-9A-Za-z_-]{20,}|xox[abeoprs]-[0-9A-Za-z-]{10,}"
    r"|(?:AKIA|ASIA)[0-9A-Z]{16}|AIza[0-9A-Za-z_-]{35}|hf_[0-9A-Za-z]{30,}|npm_[0-9A-Za-z]{30,}"
    r"|pypi-[0-9A-Za-z_-]{30,}|eyJ[0-9A-Za-z_-]{8,}\.eyJ[0-9A-Za-z_-]{4,}\.[0-9A-Za-z_-]{8,})"
)
_PRIVATE_KEY: Final = re.compile(
    r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY-----(?:(?!-----END)[\s\S])*"
    r"(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY-----)?"
)
_BEARER: Final = re.compile(r"(?i)\bbearer +(?P<value>[0-9a-z._~+/=-]{16,})")
_IN_URL: Final = re.compile(r"://[^/\s:@]{1,256}:(?P<value>[^@\s/]{1,256})(?=@)")
_TOLD: Final = re.compile(
    r"(?i)(?:pass(?:word|wd|phrase|wort|code)|kennwort|mot de passe|contrase\u00f1a|senha"
    r"|\u043f\u0430\u0440\u043e\u043b\u044c|\u5bc6\u7801"
    r"|\u30d1\u30b9\u30ef\u30fc\u30c9|pwd|secret|api[_ -]?key|access[_ -]?token|auth[_ -]?token)"
    r"[\"']?(?: ?(?:[:=]|\uff1a|\u662f|\u306f) ?| (?:is|ist|lautet|est|es|\u00e9|\u2014|-) )[\"']?"
    r"(?P<value>[^\s\"',;(){}\[\]<>]{4,256})"
)
_TOLD_BY: Final = (
    "pass", "pwd", "kennwort", "contrase", "senha", "\u043f\u0430\u0440\u043e\u043b\u044c",
    "\u5bc6\u7801", "\u30d1\u30b9", "secret", "key", "token",
)  # fmt: skip
"""Parts of the words before a secret: without one of them there is nothing to look for."""


def find_personal(text: str, kinds: frozenset[str]) -> tuple[Passage, ...]:
    """What of these kinds is in a text, in order, without overlaps."""
    return apart(
        [
            Passage(start, end, kind)
            for kind, finder in _FINDERS.items()
            if kind in kinds
            for start, end in finder(text)
        ]
    )


def _secrets(text: str) -> Iterator[tuple[int, int]]:
    for pattern in (_PRIVATE_KEY, _TOKEN):
        yield from (match.span() for match in pattern.finditer(text))
    for pattern in (_BEARER, _IN_URL):
        yield from (match.span("value") for match in pattern.finditer(text))
    lowered = text.lower()
    told = _TOLD.finditer(text) if any(word in lowered for word in _TOLD_BY) else ()
    for match in told:
        value = match["value"].rstrip(".!?)")
        if any(char.isdigit() for char in value):  # "the password is wrong" tells none
            yield match.start("value"), match.start("value") + len(value)


def _emails(text: str) -> Iterator[tuple[int, int]]:
    if "@" in text:
        yield from (match.span() for match in _EMAIL.finditer(text))


def _phones(text: str) -> Iterator[tuple[int, int]]:
    for pattern in (_INTERNATIONAL, _NATIONAL):
        yield from (match.span() for match in pattern.finditer(text))


def _ibans(text: str) -> Iterator[tuple[int, int]]:
    for match in _IBAN.finditer(text):
        length = _IBAN_LENGTHS.get(match[0][:2].upper(), 99)
        end = _nth_sign(text, match.start(), length)
        compact = _signs(text[match.start() : end])
        whole = len(compact) == length and not text[end : end + 1].isalnum()
        if whole and int("".join(str(int(c, 36)) for c in compact[4:] + compact[:4])) % 97 == 1:
            yield match.start(), end


def _nth_sign(text: str, start: int, count: int) -> int:
    """Where the count-th letter or digit from `start` on ends."""
    for at in range(start, min(start + 2 * count, len(text))):
        count -= text[at] not in " -"
        if not count:
            return at + 1
    return len(text)


def _signs(text: str) -> str:
    """Letters and digits alone; digits of any script as those of ASCII."""
    return "".join(str(int(c)) if c.isdecimal() else c for c in text if c.isalnum())


def _cards(text: str) -> Iterator[tuple[int, int]]:
    for match in _CARD.finditer(text):
        digits = _signs(match[0])
        if _CARD_RANGES.fullmatch(digits) and _luhn(digits):
            yield match.span()


def _luhn(digits: str) -> bool:
    doubled = [sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2]]
    return (sum(doubled) + sum(map(int, digits[-1::-2]))) % 10 == 0


def _addresses(text: str) -> Iterator[tuple[int, int]]:
    for match in _IP4.finditer(text):
        if _is_ip(match[0]):
            yield match.span()
    for match in _IP6.finditer(text):
        digits = sum(char.isalnum() for char in match[0])
        if match[0].count(":") >= 2 and digits >= 4 and _is_ip(match[0]):
            yield match.span()


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _ssns(text: str) -> Iterator[tuple[int, int]]:
    yield from (match.span() for match in _SSN.finditer(text))


def _tax_ids(text: str) -> Iterator[tuple[int, int]]:
    for match in _TAX_ID.finditer(text):
        if is_tax_id(_signs(match[0])):
            yield match.span()


def is_tax_id(digits: str) -> bool:
    """Whether eleven digits are a German tax identification number: of the first ten one occurs
    two or three times and the others at most once, and the last is right by ISO 7064, MOD 11,10."""
    counts = sorted((digits[:10].count(digit) for digit in set(digits[:10])), reverse=True)
    if counts[0] not in (2, 3) or counts[1] > 1:
        return False
    product = 10
    for digit in digits[:10]:
        product = 2 * ((int(digit) + product) % 10 or 10) % 11
    return (11 - product) % 10 == int(digits[10])


_FINDERS: Final[Mapping[str, Finder]] = {
    "SECRET": _secrets,
    "EMAIL": _emails,
    "IBAN": _ibans,
    "CARD": _cards,
    "TAX_ID": _tax_ids,
    "SSN": _ssns,
    "IP": _addresses,
    "PHONE": _phones,
}
"""By kind; of passages of the same length the earlier kind is told."""

KINDS: Final = tuple(_FINDERS)
