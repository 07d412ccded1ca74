"""Members: who has which role in a project."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import cast

from holdfast.core.intake import clean_id
from holdfast.directory import Member, Role, Where
from holdfast.engine.parts import Parts
from holdfast.errors import NotFoundError, ValidationError

_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s]{1,255}")
ROLES: tuple[Role, ...] = ("READER", "OWNER")


async def listed(parts: Parts) -> Sequence[Member]:
    """The members of this project, by address."""
    return await parts.directory.select(Member, Where("project", parts.project))


async def put(parts: Parts, email: str, role: str) -> Member:
    """Add a member, or give one another role. Raises ValidationError."""
    email, role = clean_email(email), _clean_role(role)
    changed = await parts.directory.update(Member, *_is(parts, email), values={"role": role})
    member = Member(
        project=parts.project, email=email, role=cast("Role", role), created_at=parts.clock.now()
    )
    if not changed:
        await parts.directory.insert(member)
    return member


async def remove(parts: Parts, email: str) -> None:
    """Take a member's role away. Raises NotFoundError."""
    if not await parts.directory.delete(Member, *_is(parts, clean_email(email))):
        raise NotFoundError("There is no such member.", hint="`members` lists those there are.")


def clean_email(value: object) -> str:
    """An address in the form in which members are compared. Raises ValidationError."""
    if not isinstance(value, str) or not _EMAIL.fullmatch(clean_id(value, "email")):
        raise ValidationError("email is no address.", hint="Write it like ann@example.com.")
    return value.strip().lower()


def _clean_role(value: object) -> str:
    if value not in ROLES:
        raise ValidationError("role is unknown.", hint="Use READER or OWNER.")
    return str(value)


def _is(parts: Parts, email: str) -> tuple[Where, Where]:
    return Where("project", parts.project), Where("email", email)
