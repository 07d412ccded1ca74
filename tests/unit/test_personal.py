"""Patterns of personal data: what is valid is found, and ordinary talk is left alone."""

from __future__ import annotations

import ipaddress
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from holdfast.core.personal import KINDS, find_personal, is_tax_id

ALL = frozenset(KINDS)
ROOT = Path(__file__).parents[2]
AROUND = st.sampled_from(
    [("", ""), ("It is ", "."), ("my one: ", ", thanks"), ("(", ")"), ("\n", "\n"), ("是", "。"),
     ("Meine Nummer ist ", " und das war's"), ("رقمي ", " شكرا"), ('"', '"')]
)  # fmt: skip


def found(text: str, kinds: frozenset[str] = ALL) -> list[tuple[str, str]]:
    return [(one.kind, text[one.start : one.end]) for one in find_personal(text, kinds)]


def grouped(text: str, size: int, between: str) -> str:
    return between.join(text[at : at + size] for at in range(0, len(text), size))


def luhn(digits: str) -> str:
    doubled = sum(sum(divmod(2 * int(d), 10)) for d in digits[::-2])
    return digits + str(-(doubled + sum(map(int, digits[-2::-2]))) % 10)


@given(
    st.text("abcdefghijklmnopqrstuvwxyz0123456789._+-", min_size=1, max_size=30),
    st.lists(st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=12), min_size=1,
             max_size=3),
    st.sampled_from(["com", "de", "co", "museum", "example", "рф"]),
    AROUND,
)  # fmt: skip
def test_mail_addresses(local: str, labels: list[str], top: str, around: tuple[str, str]) -> None:
    value = f"{local}@{'.'.join([*labels, top])}"
    assert ("EMAIL", value) in found(around[0] + value + around[1])


COUNTRIES = {"DE": 22, "GB": 22, "FR": 27, "NO": 15, "MT": 31, "CH": 21, "SA": 24, "BR": 29}


@given(
    st.sampled_from(sorted(COUNTRIES)), st.data(), st.sampled_from(["", " ", "-"]), st.booleans(),
    AROUND,
)  # fmt: skip
def test_ibans(
    country: str, data: st.DataObject, between: str, small: bool, around: tuple[str, str]
) -> None:
    size = COUNTRIES[country] - 4
    inside = data.draw(
        st.text("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=size, max_size=size)
    )
    number = int("".join(str(int(char, 36)) for char in f"{inside}{country}00"))
    iban = grouped(f"{country}{98 - number % 97:02}{inside}", 4, between)
    iban = iban.lower() if small else iban
    assert ("IBAN", iban) in found(around[0] + iban + around[1])
    wrong = iban[:2] + str((int(iban[2]) + 1) % 10) + iban[3:]
    assert "IBAN" not in dict(found(wrong))


@given(
    st.sampled_from(["4", "51", "2221", "34", "37", "6011", "36", "3528"]), st.data(),
    st.sampled_from(["", " ", "-"]), AROUND,
)  # fmt: skip
def test_cards(first: str, data: st.DataObject, between: str, around: tuple[str, str]) -> None:
    size = {"34": 15, "37": 15, "36": 14}.get(first, 16) - len(first) - 1
    card = luhn(first + data.draw(st.text("0123456789", min_size=size, max_size=size)))
    shown = grouped(card, 4, between)
    assert ("CARD", shown) in found(around[0] + shown + around[1])
    wrong = card[:-1] + str((int(card[-1]) + 1) % 10)
    assert "CARD" not in dict(found(wrong))


@given(st.ip_addresses(v=4), AROUND)
def test_addresses_of_version_4(ip: ipaddress.IPv4Address, around: tuple[str, str]) -> None:
    assert ("IP", str(ip)) in found(around[0] + str(ip) + around[1])


@given(st.ip_addresses(v=6), st.booleans(), AROUND)
def test_addresses_of_version_6(
    ip: ipaddress.IPv6Address, whole: bool, around: tuple[str, str]
) -> None:
    text = ip.exploded if whole else str(ip)
    assume(sum(char.isalnum() for char in text) >= 4)
    assert ("IP", text) in found(around[0] + text + around[1])


@given(
    st.integers(1, 899).filter(lambda n: n != 666), st.integers(1, 99), st.integers(1, 9999),
    st.sampled_from("- "), AROUND,
)  # fmt: skip
def test_social_security_numbers(
    area: int, group: int, serial: int, between: str, around: tuple[str, str]
) -> None:
    number = f"{area:03}{between}{group:02}{between}{serial:04}"
    assert ("SSN", number) in found(around[0] + number + around[1])


@given(st.permutations("0123456789"), st.integers(0, 9), st.booleans(), AROUND)
def test_german_tax_numbers(
    digits: list[str], twice: int, spaced: bool, around: tuple[str, str]
) -> None:
    first = [digits[(twice + 1) % 10] if at == twice else one for at, one in enumerate(digits)]
    assume(first[0] != "0")
    numbers = ["".join(first) + str(last) for last in range(10)]
    [number] = [one for one in numbers if is_tax_id(one)]
    shown = f"{number[:2]} {number[2:5]} {number[5:8]} {number[8:]}" if spaced else number
    assert ("TAX_ID", shown) in found(around[0] + shown + around[1], frozenset({"TAX_ID"}))
    assert "TAX_ID" not in dict(found(next(one for one in numbers if one != number)))


@given(
    st.sampled_from(["+1", "+49", "+81", "0044", "+7", "+971"]),
    st.text("0123456789", min_size=7, max_size=10), st.sampled_from(["", " ", "-", "/"]), AROUND,
)  # fmt: skip
def test_international_numbers(
    country: str, rest: str, between: str, around: tuple[str, str]
) -> None:
    number = f"{country}{between}{rest[:3]}{between}{rest[3:]}"
    assert ("PHONE", number) in found(around[0] + number + around[1])


@pytest.mark.parametrize(
    "number", ["0170 1234567", "030/1234567", "(030) 123456", "(212) 555-0199", "212-555-0199"]
)
def test_national_numbers(number: str) -> None:
    assert found(f"Call {number}, please") == [("PHONE", number)]


SECRETS = [
    ("sk-proj-Abcdefghijklmnop1234", "sk-proj-Abcdefghijklmnop1234"),
    ("AKIAABCDEFGHIJKLMNOP", "AKIAABCDEFGHIJKLMNOP"),
    ("ghp_" + "a1B2" * 9, "ghp_" + "a1B2" * 9),
    ("eyJhbGciOiJI.eyJzdWIiOiIx.c2lnbmF0dXJl", "eyJhbGciOiJI.eyJzdWIiOiIx.c2lnbmF0dXJl"),
    ("postgres://bob:s3cr-t!@db.example/x", "s3cr-t!"),
    ("Authorization: Bearer abcdef0123456789abcd", "abcdef0123456789abcd"),
    ("my password is hunter22.", "hunter22"),
    ("Mein Passwort lautet geheim99!", "geheim99"),
    ("la contraseña es clave123", "clave123"),
    ("пароль: qwerty12", "qwerty12"),
    ("密码是abc12345", "abc12345"),
    ("API_KEY = 'a1b2c3d4'", "a1b2c3d4"),
    ("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nMII\n-----END RSA PRIVATE KEY-----",
     "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nMII\n-----END RSA PRIVATE KEY-----"),
    ("-----BEGIN PRIVATE KEY-----\nMIIcut off", "-----BEGIN PRIVATE KEY-----\nMIIcut off"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "secret"), SECRETS)
def test_secrets(text: str, secret: str) -> None:
    assert found(text) == [("SECRET", secret)]


@pytest.mark.parametrize(
    "text",
    [
        "The password is wrong.", "std::vector<int>", "at 10:30:15 on 2024-03-11 18:40",
        "version 1.2.3.4.5", "ISBN 978-3-16-148410-0", "order 12345678, invoice 2024/000123",
        "1,234,567.89 euros", "it costs 0.123456789", "call me @bob", "a@b",
        "2024-03-11/2024-03-18",
        "DE00 0000 0000 0000 0000 00", "4111 1111 1111 1112", "pi is 3.14159265358979",
    ],
)  # fmt: skip
def test_what_is_neither(text: str) -> None:
    assert found(text) == []


@given(st.text(max_size=200))
def test_passages_are_in_order_and_apart(text: str) -> None:
    at = 0
    for one in find_personal(text, ALL):
        assert at <= one.start < one.end <= len(text)
        at = one.end


def texts_in(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["text"]] if isinstance(value.get("text"), str) else []
        return own + [text for item in value.values() for text in texts_in(item)]
    return [text for item in value for text in texts_in(item)] if isinstance(value, list) else []


def test_conversations_without_personal_data_are_left_alone() -> None:
    files = [*(ROOT / "tests/data/multilingual").glob("*.json")]
    files.append(ROOT / "src/holdfast/demo/conversation.json")
    texts = [text for path in files for text in texts_in(json.loads(path.read_text()))]
    assert len(texts) > 900
    wrong = Counter(kind for text in texts for kind, _ in found(text))
    assert sum(wrong.values()) == 0, wrong


@pytest.mark.parametrize(
    "text", ["a" * 200_000, "a@" * 50_000, "1 " * 50_000, ":a" * 50_000, "+1" * 50_000,
             "a.b@" * 20_000, "DE12" * 20_000, "-----BEGIN PRIVATE KEY-----" * 200,
             "password is " * 5_000, "://a:" * 20_000],
)  # fmt: skip
def test_no_text_takes_long(text: str) -> None:
    """That it ends at all within the time of a test: a pattern that tries again would not."""
    find_personal(text, ALL)
