"""The same over HTTP: whatever routes there are, no answer tells anything of another tenant."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from holdfast import AsyncMemory
from holdfast.admin import AsyncAdmin
from holdfast.admin.audit import Audit
from holdfast.engine import read
from holdfast.engine.trail import AuditPage
from holdfast.errors import AccessError
from holdfast.server.app import build
from holdfast.server.mcp.tools import TOOLS
from tests.access.callers import Callers, unknown
from tests.access.campaign import Campaign
from tests.access.routes import Route
from tests.access.tenants import Leak, expect

REQUESTS = 5_000
TRIES = 100
NEVER_SERVED = {
    "/v2/profiles/jobs": "no project has a schema of profiles",
    "/v2/profiles/jobs/{job_id}": "no project has a schema of profiles",
    "/generate-instructions": "there is no language model",
    "/holdfast/chat": "is not offered",
    "/holdfast/rerun": "no job fails without a model",
    "/holdfast/cancel": "no job waits without a model",
    "/holdfast/index": "there is no external index",
    "/holdfast/index/verify": "there is no external index",
    "/holdfast/index/rebuild": "there is no external index",
    "/holdfast/index/rebalance": "there is no external index",
    "/holdfast/erasures/{erasure_id}": "nobody here keeps the ids of erasures",
    "/holdfast/backups": "is for whoever runs the deployment",
    "/holdfast/backups/{backup_id}": "is for whoever runs the deployment",
    "/holdfast/audit/prune": "is for whoever runs the deployment",
    "/holdfast/embedder": "is for whoever runs the deployment",
    "/holdfast/embedder/change": "is for whoever runs the deployment",
    "/holdfast/embedder/cutover": "is for whoever runs the deployment",
    "/holdfast/embedder/rollback": "is for whoever runs the deployment",
    "/holdfast/embedder/finish": "is for whoever runs the deployment",
    "/holdfast/webhooks/{webhook_id}/deliveries/{delivery_id}/rerun": "no message fails",
    "/api-keys": "is for accounts, which are of no tenant",
    "/api-keys/{key_id}": "is for accounts, which are of no tenant",
    "/holdfast/projects": "is for whoever runs the deployment",
    "/api/v1/orgs/organizations/{org_id}/projects": "is for whoever runs the deployment",
}
"""Routes that refuse every tenant of these tests."""
NEVER_DELETED = ("/holdfast/projects/{project}",)
NEVER_DELETED += ("/api/v1/orgs/organizations/{org_id}/projects/{project_id}",)
NEVER_DELETED += ("/holdfast/budgets/{budget_id}",)  # nobody is told ids of others
_CHANCE = re.compile(
    r"canary\d+x|[0-9a-f]{8}-[0-9a-f-]{27}|[0-9a-f]{32}|\d{4}-\d\d-\d\dT[0-9:.+]+Z?|\d{9,}"
)


@pytest.fixture
async def callers(tmp_path: Path) -> AsyncIterator[Callers]:
    limits = {f"key_limit_{load}": "" for load in ("search", "read", "add", "write", "admin")}
    section = {**limits, "webhook_private": True}
    app = build({"path": str(tmp_path / "store"), "workers": 0, "server": section})
    transport = httpx.ASGITransport(app, raise_app_exceptions=True)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as http,
    ):
        campaign = Campaign(app.state.deployment.admin, seed=3, filters=200)
        await campaign.begin(collide=False)
        await campaign.run(600)
        asking = Callers(app, campaign, http)
        await asking.begin()
        yield asking


async def ask_everything(callers: Callers, requests: int) -> None:
    """Every route, by everybody, with ids of everybody."""
    for number in range(requests):
        if number % 100 == 0:
            await callers.campaign.round_of(callers.campaign.adds(30))
        who = callers.who()
        route = callers.routes[number % len(callers.routes)]
        id_ = callers.some_id(who, callers.kind_of(route))
        status, text = await callers.ask(who, route, id_)
        expect(status < 500 or status == 501, who, f"{route} gave {status}: {text}")


async def ask_again(callers: Callers, unserved: set[Route]) -> None:
    """Some more often: that chance served them nobody so far proves nothing."""
    for route in [each for each in callers.routes if (each[0], each[1].rstrip("/")) in unserved]:
        for _ in range(TRIES):
            if (route[0], route[1].rstrip("/")) in callers.served:
                break
            who = callers.who()
            status, text = await callers.ask(
                who, route, callers.some_id(who, callers.kind_of(route))
            )
            expect(status < 500 or status == 501, who, f"{route} gave {status}: {text}")


async def ask_twice(callers: Callers, requests: int) -> int:
    """Each route that asks for an id, with one of others and with one of nothing; how often."""
    compared = 0
    asked = [route for route in callers.routes if callers.kind_of(route) is not None]
    for number in range(requests):
        who, route = callers.who(), asked[number % len(asked)]
        kind = callers.kind_of(route)
        theirs = callers.foreign(who, kind or "")
        if theirs is None:
            continue
        answers = []
        state = callers.chance.getstate()
        for id_ in (theirs, unknown(kind)):
            callers.chance.setstate(state)
            status, text = await callers.ask(who, route, id_)
            answers.append((status, _CHANCE.sub("_", text.replace(id_, "ID"))))
        expect(answers[0] == answers[1], who, f"{route}: {answers}")
        compared += 1
    return compared


@pytest.mark.slow
async def test_no_answer_tells_of_another(callers: Callers) -> None:
    await ask_everything(callers, REQUESTS)
    assert callers.statuses[200] > REQUESTS / 5, callers.statuses
    assert callers.statuses[403] + callers.statuses[404] > REQUESTS / 50, callers.statuses
    asked = {(method, path.rstrip("/")) for method, path in callers.routes}
    never = {each for each in asked if each[1] in NEVER_SERVED}
    never |= {("DELETE", path) for path in NEVER_DELETED}
    await ask_again(callers, asked - callers.served - never)
    assert asked - callers.served - never == set(), "never served"
    assert await ask_twice(callers, REQUESTS // 8) > REQUESTS / 20


@pytest.mark.slow
async def test_no_tool_of_an_agent_tells_of_another(callers: Callers) -> None:
    """Every tool over MCP, by everybody, with ids of everybody."""
    served: set[str] = set()
    for number in range(REQUESTS // 8):
        who, tool = callers.campaign.who(), TOOLS[number % len(TOOLS)]
        id_ = callers.some_id(who, "event" if "event_id" in tool.arguments else "memory")
        known = callers.body(who, id_)
        told = {name: known[name] for name in tool.arguments if name in known}
        if {"text", "messages"} <= told.keys():
            del told["text"]
        status, text = await callers.use(who, tool.name, told, id_)
        expect(status in (200, 202), who, f"{tool.name} gave {status}: {text}")
        if '"isError":false' in text:
            served.add(tool.name)
    assert served == {tool.name for tool in TOOLS}


async def test_counts_and_lists_are_those_of_the_model(callers: Callers) -> None:
    """Of the routes that are there: what is told is exactly what may be seen."""
    asked: Counter[str] = Counter()
    known = {path for method, path in callers.routes if method == "POST"}
    for who in callers.campaign.tenants:
        headers = {"X-API-Key": callers.keys[who]}
        for each in callers.campaign.filters[:30]:
            mine = callers.campaign.world.seen(who, each.test)
            body = {"query": "tea", "filters": each.written, "top_k": 1000, "threshold": 0.0}
            for path in ("/v3/memories/search/", "/search", "/v3/memories/", "/v2/memories/"):
                assert path in known
                answer = (await callers.http.post(path, json=body, headers=headers)).json()
                found = answer["results"] if isinstance(answer, dict) else answer
                wanted = min(len(mine), 100) if path.endswith("memories/") else len(mine)
                expect({one["id"] for one in found} <= mine.keys(), who, f"{path} {each}")
                expect(len(found) == wanted, who, f"{path} {each}: {len(found)} of {wanted}")
                if isinstance(answer, dict) and "count" in answer:
                    expect(answer["count"] == len(mine), who, f"{path} {each} {answer['count']}")
                asked[path] += 1
    assert min(asked.values()) > 100


@pytest.mark.parametrize(
    "fault", ["wrong view", "text in an error", "status of others", "audit of others"]
)
async def test_a_planted_fault_is_a_leak(
    fault: str, callers: Callers, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = AsyncAdmin.memory

    def unfenced(
        self: AsyncAdmin, project: str | None = None, fence: Any = None, trust: Any = None
    ) -> AsyncMemory:
        return honest(self, project)

    async def get(parts: Any, memory_id: str) -> Any:
        [*found] = await parts.records.fetch(parts.project, [memory_id])
        if found and not read.inside(parts.fence, found[0].scope):
            text = found[0].text if fault == "text in an error" else "not yours"
            raise AccessError(f"This is not yours: {text}")
        return found[0] if found else None

    listed = Audit.listed

    async def of_others(self: Audit, *, project: str | None = None, **asked: Any) -> AuditPage:
        return await listed(self, **asked, project="blue" if project == "red" else "red")

    if fault == "audit of others":
        monkeypatch.setattr(Audit, "listed", of_others)
    elif fault == "wrong view":
        monkeypatch.setattr(AsyncAdmin, "memory", unfenced)
    else:
        monkeypatch.setattr(read, "get", get)
    ask = ask_twice if fault == "status of others" else ask_everything
    with pytest.raises(Leak):
        await ask(callers, REQUESTS)
