"""Holds every answer of a server against what its OpenAPI document says of it."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import httpx
from jsonschema import Draft202012Validator


class Conformity:
    """An event hook for httpx; fails a test whose answer is not the documented one."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document
        self._paths = [
            (re.compile(re.sub(r"\\{(\w+)(:path)?\\}", _wildcard, re.escape(path))), operations)
            for path, operations in document["paths"].items()
        ]
        self.checked = 0
        self._validator = lru_cache(maxsize=None)(self._validator_of)

    def __call__(self, response: httpx.Response) -> None:
        """Check one answer."""
        response.read()
        found = self._operation(response.request)
        if found is None:
            return
        path, method = found
        answers = self._document["paths"][path][method]["responses"]
        status = str(response.status_code)
        assert status in answers, f"{method} {path} answered {status}, which is not documented"
        errors = [
            f"{'.'.join(map(str, error.absolute_path))}: {error.message[:200]}"
            for error in self._validator(path, method, status).iter_errors(response.json())
        ]
        assert not errors, f"{method} {path} {status}: {errors[:5]}"
        self.checked += 1

    def _operation(self, request: httpx.Request) -> tuple[str, str] | None:
        method = request.method.lower()
        written = request.url.raw_path.partition(b"?")[0].decode()  # a slash in a name is %2F
        for path, (pattern, operations) in zip(self._document["paths"], self._paths, strict=True):
            if method in operations and pattern.fullmatch(written):
                return path, method
        return None

    def _validator_of(self, path: str, method: str, status: str) -> Draft202012Validator:
        content = self._document["paths"][path][method]["responses"][status]["content"]
        schema = content["application/json"]["schema"]
        return Draft202012Validator({**schema, "components": self._document["components"]})


def _wildcard(found: re.Match[str]) -> str:
    return ".+" if found[2] or found[1] == "name" else "[^/]+"
