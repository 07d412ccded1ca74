"""Passwords: how they are kept, and how what is typed is compared with what is kept.

Kept is `scrypt$<log2 n>$<r>$<p>$<salt>$<digest>`, base64: each names what it cost to make, so that
later ones may cost more. The costs are those OWASP gives for 32 MiB.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import unicodedata
from typing import Final

from holdfast.core import intake
from holdfast.errors import ValidationError
from holdfast.limits import PASSWORD_CHARS_MAX, PASSWORD_CHARS_MIN

SALT_BYTES: Final = 16

_LOG_N: Final = 15
_R: Final = 8
_P: Final = 3
_DIGEST_BYTES: Final = 32
_MEMORY_BYTES_MAX: Final = 256 * 1024 * 1024
NOBODYS: Final = f"scrypt${_LOG_N}${_R}${_P}${'A' * 22}==${'A' * 43}="
"""Compared with where there is no such account: it costs as much, and no password gives it."""


def clean_password(value: object) -> str:
    """A password that may be set, in the form in which it is compared."""
    text = intake.clean_text(value, "password", PASSWORD_CHARS_MAX)
    if len(text) < PASSWORD_CHARS_MIN:
        raise ValidationError(f"Password must be at least {PASSWORD_CHARS_MIN} characters.")
    return text


def kept(password: str, salt: bytes) -> str:
    """What is stored of a password; takes some tenths of a second, on purpose."""
    made = _derive(password, salt, _LOG_N, _R, _P)
    return f"scrypt${_LOG_N}${_R}${_P}${_text(salt)}${_text(made)}"


def proves(password: str, stored: str) -> bool:
    """Whether this is the password, in a time that does not tell where it differs."""
    if len(password) > PASSWORD_CHARS_MAX:
        password = ""  # nobody's; it costs as much
    _, log_n, r, p, salt, digest = stored.split("$")
    made = _derive(password, base64.b64decode(salt), int(log_n), int(r), int(p))
    return hmac.compare_digest(made, base64.b64decode(digest))


def _derive(password: str, salt: bytes, log_n: int, r: int, p: int) -> bytes:
    same = unicodedata.normalize("NFKC", password)  # however a keyboard composes its letters
    return hashlib.scrypt(
        same.encode(errors="surrogatepass"),
        salt=salt,
        n=1 << log_n,
        r=r,
        p=p,
        maxmem=_MEMORY_BYTES_MAX,
        dklen=_DIGEST_BYTES,
    )


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode()
