"""The same over HTTP: whatever routes there are, no answer tells anything of another tenant."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from holdfast import AsyncMemory
from holdfast.admin import AsyncAdmin
from holdfast.engine import read
from holdfast.errors import AccessError
from holdfast.model import ENTITY_KINDS, Scope
from holdfast.server.app import build
from support.filter_strategies import IDS
from tests.access.campaign import Campaign
from tests.access.routes import Route, walked
from tests.access.tenants import UNKNOWN, Leak, Tenant, expect

REQUESTS = 4_000
ALL_RIGHTS = ("read", "write", "admin")
LEFT_OUT = ("/auth/", "/configure", "/reset", "/mcp", "/health", "/docs", "/redoc", "/openapi")
"""What is of no tenant, or would end the test: everything else is asked."""

_PARAMETER = re.compile(r"\{(\w+)(?::path)?\}")
_CHANCE = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|[0-9a-f]{32}|\d{4}-\d\d-\d\dT[0-9:.+]+Z?|\d{9,}")


class Callers:
    """A campaign's tenants with a key each, and the routes they ask."""

    def __init__(self, app: FastAPI, campaign: Campaign, http: httpx.AsyncClient) -> None:
        self.campaign = campaign
        self.http = http
        self.chance = Random(5)
        self.keys: dict[Tenant, str] = {}
        self.routes: list[Route] = sorted(
            {
                (method, path)
                for (method, path), operations in walked(app)
                if operations and not path.startswith(LEFT_OUT)
            }
        )
        self.statuses: Counter[int] = Counter()

    async def begin(self) -> None:
        """Give out keys that may do everything inside their fences."""
        for who in self.campaign.tenants:
            fence = who.fence
            made = await self.campaign.admin.create_key(
                project=who.project,
                # an open one of the first project that may administrate runs the deployment
                permissions=ALL_RIGHTS[:2] if who.project == "default" else ALL_RIGHTS,
                users=fence.users,
                agents=fence.agents,
                apps=fence.apps,
                runs=fence.runs,
            )
            self.keys[who] = made.secret

    async def ask(self, who: Tenant, route: Route, filled: str, id_: str) -> tuple[int, str]:
        """Status and text of an answer, which was looked through."""
        method, _ = route
        asked = self.body(who, id_)
        answer = await self.http.request(
            method,
            filled,
            headers={"Authorization": f"Token {self.keys[who]}"},
            params={"user_id": asked["user_id"], "page": "1", "page_size": "50"},
            content=json.dumps(asked),
        )
        self.statuses[answer.status_code] += 1
        text = answer.text
        self.look(who, text + str(answer.headers), id_ + filled)
        return answer.status_code, text

    def body(self, who: Tenant, id_: str) -> dict[str, Any]:
        """Something for every route: what a route does not know, it leaves alone."""
        world, canary = self.campaign.world, self.campaign.canary + 1
        self.campaign.canary = canary
        names = [entity.id for entity in who.fence.entities() if entity.kind == "user"]
        user = self.chance.choice([*names, *IDS[:4]])
        agents = who.fence.agents or (None,)
        scope = Scope(user_id=user, agent_id=self.chance.choice(agents))
        world.canaries[canary] = (who.project, scope)
        said, text = f"I drink tea canary{canary}x", self.campaign.reworded(who, id_)
        asked = self.chance.choice(self.campaign.filters)
        body: dict[str, Any] = {
            "query": "tea",
            "messages": [{"role": "user", "content": said}],
            "infer": False,
            "user_id": user,
            "text": text,
            "memory_id": id_,
            "memory_ids": [id_],
            "memories": [{"memory_id": id_, "text": text}],
            "memory_export_id": id_,
            "feedback": "POSITIVE",
            "name": "hook",
            "event_types": ["memory_add"],
            "url": "http://127.0.0.1:9/",
            "schema": {"type": "object"},
            "email": f"{canary}@example.com",
            "role": "READER",
            "label": "l",
            "use_case": "tea",
        }
        if scope.agent_id is not None:
            body["agent_id"] = scope.agent_id
        if self.chance.random() < 0.6:
            body["filters"] = asked.written
        return body

    def look(self, who: Tenant, text: str, asked: str) -> None:
        """Raises Leak for a canary or an id of others."""
        world = self.campaign.world
        world.inspect(who, " ".join(re.findall(r"canary\d+x", text)))
        for id_ in set(re.findall(r"[0-9a-f]{8}-[0-9a-f-]{27}", text)):
            somebodys = any(id_ in world.memories[p] or id_ in world.gone[p] for p in world.gone)
            somebodys = somebodys or any(id_ in told for told in world.events.values())
            if somebodys and id_ not in asked and not world.knows(who, id_):
                raise Leak(f"{who} was told {id_}: {text[:300]}")

    def path(self, who: Tenant, route: Route, id_: str) -> str:
        """A path with its parameters filled in: `id_` where an id belongs."""

        def fill(found: re.Match[str]) -> str:
            name = found[1]
            if "kind" in name or "type" in name:
                return self.chance.choice([*ENTITY_KINDS, *(f"{kind}s" for kind in ENTITY_KINDS)])
            if "entity" in name or name == "name":
                return self.chance.choice(IDS[:2])
            if "proj" in name:
                return self.chance.choice([who.project, who.project, "red", "blue", "nowhere"])
            return "holdfast" if "org" in name else id_

        return _PARAMETER.sub(fill, route[1])

    def foreign(self, who: Tenant) -> str | None:
        """The id of something that is there, and not this tenant's to know."""
        world = self.campaign.world
        for _ in range(20):
            id_ = self.campaign.some_id(self.campaign.who())
            if id_ != UNKNOWN and not world.knows(who, id_):
                return id_
        return None


@pytest.fixture
async def callers(tmp_path: Path) -> AsyncIterator[Callers]:
    limits = {f"key_limit_{load}": "" for load in ("search", "read", "add", "write", "admin")}
    app = build({"path": str(tmp_path / "store"), "workers": 0, "server": limits})
    transport = httpx.ASGITransport(app, raise_app_exceptions=True)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://holdfast.test") as http,
    ):
        campaign = Campaign(app.state.deployment.admin, seed=3, filters=200)
        await campaign.begin(collide=False)
        await campaign.run(600)
        asking = Callers(app, campaign, http)
        await asking.begin()
        yield asking


@pytest.mark.slow
async def test_no_answer_tells_of_another(callers: Callers) -> None:
    """Every route, by everybody, with ids of everybody."""
    for number in range(REQUESTS):
        who = callers.campaign.who()
        route = callers.routes[number % len(callers.routes)]
        id_ = callers.campaign.some_id(who)
        status, text = await callers.ask(who, route, callers.path(who, route, id_), id_)
        expect(status < 500 or status == 501, who, f"{route} gave {status}: {text}")
    assert callers.statuses[200] > REQUESTS / 5, callers.statuses
    assert callers.statuses[403] + callers.statuses[404] > REQUESTS / 50, callers.statuses


@pytest.mark.slow
async def test_what_is_somebody_elses_is_answered_like_what_never_was(callers: Callers) -> None:
    """Status and body are the same, but for what is chance or time in any answer."""
    compared = 0
    with_ids = [route for route in callers.routes if _PARAMETER.search(route[1])]
    for number in range(REQUESTS // 8):
        who = callers.campaign.who()
        route = with_ids[number % len(with_ids)]
        theirs = callers.foreign(who)
        if theirs is None:
            continue
        answers = []
        state = callers.chance.getstate()
        for id_ in (theirs, UNKNOWN):
            callers.chance.setstate(state)
            status, text = await callers.ask(who, route, callers.path(who, route, id_), id_)
            answers.append((status, _CHANCE.sub("_", text.replace(id_, "ID"))))
        expect(answers[0] == answers[1], who, f"{route}: {answers}")
        compared += 1
    assert compared > REQUESTS / 20


async def test_counts_and_lists_are_those_of_the_model(callers: Callers) -> None:
    """Of the routes that are there: what is told is exactly what may be seen."""
    asked: Counter[str] = Counter()
    known = {path for method, path in callers.routes if method == "POST"}
    for who in callers.campaign.tenants:
        headers = {"X-API-Key": callers.keys[who]}
        for each in callers.campaign.filters[:40]:
            mine = callers.campaign.world.seen(who, each.test)
            body = {"query": "tea", "filters": each.written, "top_k": 1000, "threshold": 0.0}
            for path in ("/v3/memories/search/", "/search", "/v3/memories/", "/v2/memories/"):
                if path not in known:
                    continue
                answer = (await callers.http.post(path, json=body, headers=headers)).json()
                found = answer["results"] if isinstance(answer, dict) else answer
                wanted = min(len(mine), 100) if path.endswith("memories/") else len(mine)
                expect({one["id"] for one in found} <= mine.keys(), who, f"{path} {each}")
                expect(len(found) == wanted, who, f"{path} {each}: {len(found)} of {wanted}")
                if isinstance(answer, dict) and "count" in answer:
                    expect(answer["count"] == len(mine), who, f"{path} {each} {answer['count']}")
                asked[path] += 1
    assert asked["/v3/memories/search/"] > 100


@pytest.mark.parametrize("fault", ["wrong view", "text in an error", "status of others"])
async def test_a_planted_fault_is_a_leak(
    fault: str, callers: Callers, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = AsyncAdmin.memory

    def unfenced(self: AsyncAdmin, project: str | None = None, fence: Any = None) -> AsyncMemory:
        return honest(self, project)

    async def get(parts: Any, memory_id: str) -> Any:
        [*found] = await parts.records.fetch(parts.project, [memory_id])
        if found and not read.inside(parts.fence, found[0].scope):
            text = found[0].text if fault == "text in an error" else "not yours"
            raise AccessError(f"This is not yours: {text}")
        return found[0] if found else None

    if fault == "wrong view":
        monkeypatch.setattr(AsyncAdmin, "memory", unfenced)
    else:
        monkeypatch.setattr(read, "get", get)
        monkeypatch.setattr("holdfast.client.reading.get", get)
    test = test_no_answer_tells_of_another
    if fault == "status of others":
        test = test_what_is_somebody_elses_is_answered_like_what_never_was
    with pytest.raises(Leak):
        await test(callers)
