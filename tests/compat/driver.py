"""Runs in the environment of a real client: makes the calls it is given, prints what came of them.

Standard input: `{"host", "key", "face": "sync"|"async", "calls": [[label, method, args, kwargs]]}`.
Arguments may hold `{"$": "label.results.0.id"}`, a part of an earlier answer, and `{"$options":
[class, fields]}`, an options object of the client. Standard output: one JSON object,
`{"methods": [...], "answers": {label: {"value": ...} | {"raised": ...}}}`.
"""

import asyncio
import inspect
import json
import sys

import mem0
from mem0 import AsyncMemoryClient, MemoryClient


def public_methods(client):
    """The names of everything a program may call, the project's methods included."""

    def of(owner):
        return [
            name
            for name, _ in inspect.getmembers(type(owner), inspect.isfunction)
            if not name.startswith("_")
        ]

    return sorted(of(client) + [f"project.{name}" for name in of(client.project)])


def resolved(value, answers):
    """An argument with the references in it replaced."""
    if isinstance(value, list):
        return [resolved(item, answers) for item in value]
    if not isinstance(value, dict):
        return value
    if "$" in value:
        return part_of(answers, value["$"])
    if "$options" in value:
        name, fields = value["$options"]
        from mem0.client import types

        return getattr(types, name)(**resolved(fields, answers))
    return {key: resolved(item, answers) for key, item in value.items()}


def part_of(answers, path):
    """The part of an earlier answer that a path like `add.results.0.id` names."""
    label, *keys = path.split(".")
    found = answers[label]["value"]
    for key in keys:
        found = found[int(key)] if isinstance(found, list) else found[key]
    return found


async def call(client, method, args, kwargs):
    """The answer of one call, or what it raised."""
    target = client
    for name in method.split("."):
        target = getattr(target, name)
    try:
        value = target(*args, **kwargs)
        if inspect.isawaitable(value):
            value = await value
    except Exception as error:  # noqa: BLE001 - what is raised is the answer
        debug = getattr(error, "debug_info", None)
        code = getattr(error, "error_code", None)
        return {
            "raised": type(error).__name__,
            "text": str(error),
            "debug_info": debug,
            "error_code": code,
        }
    return {"value": value}


async def run(order):
    """Make all calls, in order."""
    face = AsyncMemoryClient if order["face"] == "async" else MemoryClient
    try:
        client = face(api_key=order["key"], host=order["host"])
    except Exception as error:  # noqa: BLE001 - what is raised is the answer
        return {"raised": type(error).__name__, "text": str(error)}
    answers = {}
    for label, method, args, kwargs in order["calls"]:
        try:
            given = resolved(args, answers), resolved(kwargs, answers)
        except (KeyError, IndexError, TypeError) as error:
            answers[label] = {"raised": "NoArgument", "text": repr(error)}
            continue
        answers[label] = await call(client, method, *given)
    if order["face"] == "async":
        await client.async_client.aclose()
    return {"methods": public_methods(client), "answers": answers, "version": mem0.__version__}


if __name__ == "__main__":
    json.dump(asyncio.run(run(json.load(sys.stdin))), sys.stdout, default=str)
