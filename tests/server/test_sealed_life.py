"""The whole life of a served, sealed store leaves no plaintext: in no table, file, cache, log,
metric or error answer."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from holdfast import Client
from holdfast.core.seal import PREFIX
from holdfast.engine import deliveries
from holdfast.errors import HoldfastError
from support import postgres
from support.llm_server import LLMServer, chat, failure
from support.redis import BINARY, Redis, running
from support.served import Served, served
from tests.engine.test_sealed import CANARY, database, facts, traces
from tests.engine.test_sealed_cache import keys, values
from tests.engine.test_sealed_postgres import traces as rows_with_traces

__all__ = ["keys"]

ANN = {"user_id": "ann"}
WAIT_S = 20.0


@pytest.fixture
def model() -> Iterator[LLMServer]:
    with LLMServer() as made:
        yield made


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis | None]:
    if not BINARY:
        yield None
        return
    made = Redis(tmp_path / "redis")
    with running([made]):
        yield made


@pytest.fixture(params=["sqlite", "postgres"])
def records(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """Where the records are, as a configuration names it."""
    if request.param == "sqlite":
        yield {}
        return
    if postgres.programs(postgres.USUAL) is None:
        pytest.skip("Postgres is not installed")
    with postgres.database() as url:
        yield {"records": {"provider": "postgres", "config": {"url": url}}}


@pytest.fixture
def settings(
    records: dict[str, Any], keys: Path, model: LLMServer, redis: Redis | None
) -> dict[str, Any]:
    scripted = {"model": "scripted", "openai_base_url": model.url, "api_key": "sk-test"}
    caching = {"cache": {"provider": "redis", "config": {"url": redis.url}}} if redis else {}
    seal = {"path": str(keys), "sensitive_metadata": ["note"]}
    return {
        **records,
        **caching,
        "seal": {"provider": "file", "config": seal},
        "llm": {"provider": "openai", "config": scripted},
        "model_attempts_max": 1,
        "job_attempts_max": 1,
    }


def remember(client: Client, model: LLMServer) -> None:
    """Everything that is done with memories."""
    said = f"I keep a parrot in {CANARY}."
    model.say(facts({"turn": 1, "quote": said[2:-1], "text": f"Ann's parrot is in {CANARY}"}))
    client.add(said, metadata={"note": f"of {CANARY}", "city": "Oslo"}, **ANN)
    model.say(facts({"turn": 1, "quote": "moved to Rome", "text": "Ann's parrot is in Rome"}))
    client.add(f"My parrot moved to Rome from {CANARY}", **ANN)
    kept = client.add(f"Word for word {CANARY}", user_id="ann", infer=False)["results"]
    client.update(kept[0]["id"], f"Changed to {CANARY}4", metadata={"note": CANARY})
    assert client.history(kept[0]["id"])
    for _ in range(2):  # the second answer is one that was kept
        found = client.search(f"Where is {CANARY}?", filters=ANN)
        assert any(CANARY in hit["memory"] for hit in found["results"])
    client.delete(kept[0]["id"])
    client.add(f"Of Bob's {CANARY}", user_id="bob", infer=False)
    model.say(failure(400, f"the model quotes {CANARY}"))  # the job is set aside, with its reason
    client.add(f"A job that fails {CANARY}", user_id="carl", wait=False)


def administer(run: Any, served_: Served, hook_url: str, model: LLMServer) -> str:
    """What a deployment keeps of texts beside memories; the id of the webhook."""
    admin = served_.deployment.admin
    hook = run(admin.webhooks.create("mirror", hook_url, ["memory_add", "memory_delete"]))
    [memory, *_] = run(admin.memory().get_all(filters=ANN))["results"]
    run(admin.exports.give_feedback(memory["id"], "NEGATIVE", f"Not {CANARY}!"))
    schema = {"properties": {"notes": {"type": "array", "items": {"type": "string"}}}}
    model.answer_all(chat(f'{{"notes": ["all of {CANARY}"]}}'))
    export = run(admin.exports.create(schema, ANN, instructions=f"About {CANARY}"))
    run(admin.exports.find(export))
    return str(hook.id)


def until(what: Any) -> Any:
    """What it gives once it gives something."""
    end = time.monotonic() + WAIT_S
    while not (found := what()):
        assert time.monotonic() < end, "nothing came of it"
        time.sleep(0.05)
    return found


def mistakes(client: Client, web: httpx.Client) -> list[str]:
    """What is answered to those who err, and to operators."""
    told = []
    for call in (
        lambda: client.add("Of when?", timestamp=CANARY, **ANN),
        lambda: client.add(f"{CANARY} " * 200_000, **ANN),
        lambda: client.add(CANARY),
        lambda: client.search(CANARY, filters={}),
    ):
        with pytest.raises(HoldfastError) as caught:
            call()
        told.append(f"{caught.value} {caught.value.hint}")
    told.append(web.post("/v1/memories/", content=f'{{"messages": "{CANARY}').text)
    told.append(web.get("/metrics").text)
    assert "holdfast_" in told[-1]
    return told


def dead(served_: Served, hook: str) -> Any:
    return served_.run(served_.deployment.admin.webhooks.deliveries(hook, state="FAILED"))


def found_in(records: dict[str, Any], tmp_path: Path) -> list[str]:
    """Files and tables in which the canary stands."""
    found = traces(tmp_path)
    if records:
        found += rows_with_traces(records["records"]["config"]["url"])
    else:
        with database(tmp_path) as connection:
            dump = "\n".join(connection.iterdump())
        found += ["a dump"] if CANARY in dump.lower() else []
    return found


def test_no_canary_is_left_anywhere(
    records: dict[str, Any],
    settings: dict[str, Any],
    tmp_path: Path,
    model: LLMServer,
    redis: Redis | None,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(deliveries, "WEBHOOK_ATTEMPTS_MAX", 1)
    with LLMServer() as gone:
        away = gone.url
    with ExitStack() as stack:
        at = stack.enter_context(served(tmp_path / "store", settings, webhook_private=True))
        client = stack.enter_context(Client(at.url, api_key=at.key))
        web = stack.enter_context(httpx.Client(base_url=at.url, headers=at.headers))
        remember(client, model)
        failed = until(lambda: client.events(status="FAILED")["results"])
        hook = administer(at.run, at, away, model)
        client.add(f"Told of {CANARY}", user_id="bob", infer=False)
        until(lambda: dead(at, hook))
        if not records:
            with database(tmp_path) as connection:
                dump = "\n".join(connection.iterdump())
            assert dump.count(PREFIX) > 20, "nothing was stored at all"
        told = [*mistakes(client, web), *(str(one.get("error")) for one in failed)]
        assert found_in(records, tmp_path) == []
        if redis is not None:
            assert not any(CANARY.encode() in value for value in until(lambda: values(redis)))
        client.delete_all(user_id="bob")
        assert found_in(records, tmp_path) == []
        client.reset()
    assert found_in(records, tmp_path) == []
    told += [*capfd.readouterr(), *caplog.messages, caplog.text]
    assert len(caplog.messages) > 20
    assert [text for text in told if CANARY in text.lower()] == []
