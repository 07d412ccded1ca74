"""A campaign's tenants as HTTP callers: every route, asked with ids of everybody."""

from __future__ import annotations

import json
import re
from collections import Counter
from random import Random
from typing import Any

import httpx
from fastapi import FastAPI

from holdfast.model import ENTITY_KINDS, Json, Scope
from support.filter_strategies import IDS
from tests.access.campaign import Campaign
from tests.access.routes import Route, walked
from tests.access.tenants import PROJECTS, UNKNOWN, Leak, Tenant

LEFT_OUT = ("/auth/", "/configure", "/reset", "/holdfast/reset", "/mcp", "/metrics", "/health")
"""What is of no tenant, or would end the test: everything else is asked."""

_RIGHTS = ("read", "write", "admin")
_PARAMETER = re.compile(r"\{(\w+)(?::path)?\}")
_ANY_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|\b[0-9a-f]{12}\b")
_TARGET = re.compile(r'"target":"([^"]*)"')
_CANARY = re.compile(r"canary\d+x")
_ADDS = ("/add", "/v1/memories")
_KINDS = ("webhook", "delivery", "key", "export", "event", "held", "memory")
"""Of ids, as the names of parameters tell them."""
_BODY_IDS = {"memory_id": "memory", "memories": "memory", "event_id": "event"}
_BODY_IDS |= {"memory_export_id": "export", "held_ids": "held"}


class Callers:
    """Keys for everybody, what they made, and what they may be told."""

    def __init__(self, app: FastAPI, campaign: Campaign, http: httpx.AsyncClient) -> None:
        self.campaign = campaign
        self.http = http
        self.chance = Random(5)
        self.keys: dict[Tenant, str] = {}
        self.routes: list[Route] = sorted(
            (method, path)
            for (method, path), operations in walked(app)
            if operations and not path.startswith(LEFT_OUT)
        )
        self.statuses: Counter[int] = Counter()
        self.served: set[Route] = set()
        """The routes that did what they were asked at least once, without their last slash."""
        self.emails: dict[str, list[str]] = {project: [] for project in PROJECTS}
        self.made: dict[str, dict[str, str]] = {kind: {} for kind in _KINDS}
        """Ids of what was made over HTTP, by kind, each with its project."""
        self.held: dict[str, tuple[str, Scope]] = {}
        """Of held adds, by id: their project, and whose they are."""
        self.deleted: set[str] = set()
        """Ids of what was deleted since."""
        self._forms = _forms(app.openapi())

    async def begin(self) -> None:
        """Give out keys that may do everything inside their fences."""
        for who in self.campaign.tenants:
            fence = who.fence
            made = await self.campaign.admin.create_key(
                project=who.project,
                # an open one of the first project that may administrate runs the deployment
                permissions=_RIGHTS[:2] if who.project == "default" else _RIGHTS,
                users=fence.users,
                agents=fence.agents,
                apps=fence.apps,
                runs=fence.runs,
            )
            self.keys[who] = made.secret

    def who(self) -> Tenant:
        """Somebody; of a whole project half of the time, for many routes are for those only."""
        pool = self.campaign.tenants
        if self.chance.random() < 0.5:
            pool = [each for each in pool if each.fence.is_open]
        return self.chance.choice(pool)

    # ----------------------------------------------------------------------- asking

    async def ask(self, who: Tenant, route: Route, id_: str) -> tuple[int, str]:
        """Status and text of an answer, which was looked through."""
        method, path = route
        filled = self._path(who, path, id_)
        asked = self.body(who, id_)
        if method != "POST" and "members" in path and self.emails[who.project]:
            asked["email"] = self.chance.choice(self.emails[who.project])
        self.campaign.world.named[who.project].add(id_)
        answer = await self.http.request(
            method,
            filled,
            headers={
                "Authorization": f"Token {self.keys[who]}",
                "Content-Type": "application/json",
            },
            params={"user_id": asked["user_id"], "page": "1", "page_size": "50"}
            | ({"email": asked["email"]} if "members" in path else {}),
            content=json.dumps(self._fitting(route, asked)),
        )
        self.statuses[answer.status_code] += 1
        if answer.is_success:
            self.served.add((method, path.rstrip("/")))
            if "members" in path and method == "POST":
                self.emails[who.project].append(asked["email"])
            self._learn(who, route, answer)
            if method == "DELETE":
                self.deleted.add(id_)
        text = answer.text
        if path.startswith("/holdfast/audit"):
            text = self._untargeted(who, text)
        self.look(who, text + str(answer.headers), f"{id_} {filled} {asked}")
        return answer.status_code, answer.text

    async def use(self, who: Tenant, tool: str, told: Json, id_: str) -> tuple[int, str]:
        """Status and text of a tool's answer over MCP, which was looked through."""
        call = {"name": tool, "arguments": told}
        self.campaign.world.named[who.project].add(id_)
        answer = await self.http.post(
            "/mcp",
            headers={
                "Authorization": f"Bearer {self.keys[who]}",
                "Accept": "application/json, text/event-stream",
            },
            json={"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call},
        )
        self.look(who, answer.text, f"{id_} {told}")
        return answer.status_code, answer.text

    def body(self, who: Tenant, id_: str) -> dict[str, Any]:
        """Something for every route: what a route does not know, it leaves alone."""
        world, canary = self.campaign.world, self.campaign.canary + 1
        self.campaign.canary = canary
        names = [entity.id for entity in who.fence.entities() if entity.kind == "user"]
        user = self.chance.choice([*names, *IDS[:4]])
        agent = self.chance.choice(who.fence.agents or (None,))
        world.canaries[canary] = (who.project, Scope(user_id=user, agent_id=agent))
        mark, text = f"canary{canary}x", self.campaign.reworded(who, id_)
        body: dict[str, Any] = {
            "query": "tea",
            "messages": [{"role": "user", "content": f"I drink tea {mark}"}],
            "infer": False,
            "user_id": user,
            "text": text,
            "memory_id": id_,
            "memory_ids": [id_],
            "memories": [{"memory_id": id_, "text": text}],
            "memory_export_id": id_,
            "event_id": id_,
            "held_ids": [id_],
            "feedback": "POSITIVE",
            "feedback_reason": text,
            "name": mark,
            "kind": "user",
            "event_types": ["memory_add"],
            "url": "http://127.0.0.1:9/",
            "schema": {"type": "object", "properties": {"likes": {"type": "string"}}},
            "email": f"{mark}@example.com",
            "role": "READER",
            "label": mark,
            "description": mark,
            "use_case": "tea",
            "rules": {"usage": 9},
            "timeout_s": 0.1,
            "amount": 5,
            "wait": True,
        }
        if agent is not None:
            body["agent_id"] = agent
        if self.chance.random() < 0.4:
            body["trust"] = "untrusted"
        if self.chance.random() < 0.6:
            body["filters"] = self.chance.choice(self.campaign.filters).written
        elif self.chance.random() < 0.8:
            body["filters"] = {"user_id": user}
        return body

    def _fitting(self, route: Route, asked: dict[str, Any]) -> dict[str, Any]:
        """The body without what the route refuses to know."""
        if route[1].rstrip("/").endswith(_ADDS):  # ids in filters would be ids of the memory
            asked = {name: value for name, value in asked.items() if name != "filters"}
        elif route[1].startswith("/v3/"):
            named = {"user_id": asked["user_id"]}
            rest = {k: v for k, v in asked.items() if k not in ("user_id", "agent_id")}
            return {"filters": named, **rest}
        form = self._forms.get((route[0], route[1].rstrip("/")))
        if form is None or form.get("additionalProperties", True):
            return asked
        known = form.get("properties", {})
        fitting = {name: value for name, value in asked.items() if name in known}
        if "entity" in route[1]:
            fitting["name"] = asked["user_id"]
        if "held_ids" in fitting:
            fitting = {"held_ids": fitting["held_ids"]}
        if "batch_delete" in route[1]:
            fitting["memories"] = [{"memory_id": asked["memory_id"]}]
        if "filters" in fitting and route[1].endswith(("search", "get_all")):
            fitting.pop("user_id", None)
        return fitting

    def _path(self, who: Tenant, path: str, id_: str) -> str:
        """A path with its parameters filled in: `id_` where an id belongs."""

        def fill(found: re.Match[str]) -> str:
            name = found[1]
            if "kind" in name or "type" in name:
                return self.chance.choice([*ENTITY_KINDS, *(f"{kind}s" for kind in ENTITY_KINDS)])
            if "entity" in name or name == "name":
                return self.chance.choice(IDS[:2])
            if name == "rule":
                return "usage"
            if name.startswith("proj"):
                return self.chance.choice([who.project, who.project, "red", "blue", "nowhere"])
            return "holdfast" if "org" in name else id_

        return _PARAMETER.sub(fill, path)

    # -------------------------------------------------------------------------- ids

    def kind_of(self, route: Route) -> str | None:
        """The kind of the id a route asks for; None if it asks for none."""
        for name in _PARAMETER.findall(route[1]):
            for kind in _KINDS:
                if name.startswith(kind):
                    return kind
        form = self._forms.get((route[0], route[1].rstrip("/")), {})
        known = [kind for name, kind in _BODY_IDS.items() if name in form.get("properties", {})]
        return known[0] if known else None

    def some_id(self, who: Tenant, kind: str | None) -> str:
        """An id of this kind: one's own, somebody else's, or of nothing."""
        if kind in ("memory", None):
            return self.campaign.some_id(who)
        if kind == "event":
            pool = list(self.campaign.world.events[self.chance.choice([who.project] * 2 + ["red"])])
        else:
            everything = self.made[kind or ""]
            mine = (id_ for id_, project in everything.items() if project == who.project)
            own = [id_ for id_ in mine if id_ not in self.deleted]
            pool = own if own and self.chance.random() < 0.6 else list(everything)
        return self.chance.choice(pool) if pool else unknown(kind)

    def foreign(self, who: Tenant, kind: str) -> str | None:
        """The id of something that is there, and not this tenant's to know."""
        for _ in range(20):
            id_ = self.some_id(self.campaign.who(), kind)
            if kind in ("memory", "event"):
                known = self.campaign.world.knows(who, id_)
            else:
                known = self.made[kind].get(id_, who.project) == who.project
            if id_ != unknown(kind) and not known:
                return id_
        return None

    def _learn(self, who: Tenant, route: Route, answer: httpx.Response) -> None:
        """Note what a request made."""
        told = answer.json() if answer.content and route[0] == "POST" else None
        if not isinstance(told, dict):
            return
        path = route[1].rstrip("/")
        for item in told.get("results") or ():
            if isinstance(item, dict) and item.get("event") == "HELD":
                self.made["held"][item["id"]] = who.project
                [canary] = _CANARY.findall(item["memory"])
                self.held[item["id"]] = self.campaign.world.canaries[int(canary[6:-1])]
        kind = {"webhooks": "webhook", "keys": "key", "exports": "export"}.get(
            next((name for name in ("webhooks", "keys", "exports") if name in path), "")
        )
        id_ = told.get("webhook_id") or told.get("id")
        if kind is not None and isinstance(id_, str) and not path.endswith(("get", "rerun")):
            self.made[kind][id_] = who.project

    # ---------------------------------------------------------------------- looking

    def _untargeted(self, who: Tenant, text: str) -> str:
        """Rows of the audit without the targets that a whole project's own callers asked for."""
        if not who.fence.is_open:
            return text
        named = self.campaign.world.named[who.project]
        return _TARGET.sub(lambda found: "" if found[1] in named else found[0], text)

    def look(self, who: Tenant, text: str, asked: str) -> None:
        """Raises Leak for a canary or an id of others that was not in the request itself."""
        world = self.campaign.world
        world.inspect(who, " ".join(set(_CANARY.findall(text)) - set(_CANARY.findall(asked))))
        for id_ in set(_ANY_ID.findall(text)):
            if id_ in asked:
                continue
            owners = [ids[id_] for ids in self.made.values() if id_ in ids]
            somebodys = any(id_ in world.memories[p] or id_ in world.gone[p] for p in world.gone)
            somebodys = somebodys or any(id_ in told for told in world.events.values())
            if id_ in self.held:
                project, scope = self.held[id_]
                wrong = who.project != project or not who.may(scope)
            elif owners:
                wrong = who.project not in owners or not who.fence.is_open
            else:
                wrong = somebodys and not world.knows(who, id_)
            if wrong:
                raise Leak(f"{who} was told {id_}: {text[:300]}")


def unknown(kind: str | None) -> str:
    """An id of this kind that nothing has."""
    return "0123456789ab" if kind == "key" else UNKNOWN


def _forms(document: dict[str, Any]) -> dict[Route, dict[str, Any]]:
    """The schema of each route's body, as documented, by method and path without its last slash."""
    found = {}
    schemas = document.get("components", {}).get("schemas", {})
    for path, methods in document["paths"].items():
        for method, told in methods.items():
            content = told.get("requestBody", {}).get("content", {})
            schema = content.get("application/json", {}).get("schema", {})
            for choice in (schema, *schema.get("anyOf", ())):
                if "$ref" in choice:
                    schema = schemas[choice["$ref"].rsplit("/", 1)[-1]]
            found[method.upper(), path.rstrip("/")] = schema
    return found
