"""A Pinecone of the tests' own: its REST API of 2026-07 as far as documents need it.

Requests are checked against the structs of Pinecone's own package, which carry the published
schema, and against the rules its documentation gives beside them.
"""

from __future__ import annotations

import math
from typing import Any
from urllib.parse import unquote

import msgspec
import numpy as np
from pinecone.models.documents.requests import (
    DeleteDocumentsRequest,
    FetchDocumentsRequest,
    ListDocumentsRequest,
    SearchDocumentsRequest,
    UpsertDocumentsRequest,
)
from pinecone.models.indexes.requests import CreateIndexRequest
from pinecone.models.indexes.schema import DenseVectorField, IndexSchema, SparseVectorField

from support.wire_server import Answer, Asked, WireServer

KEY = "pc-secret-key"
VERSION = "2026-07"
COMPARISONS = {"$eq", "$exists"}


def missing(what: str) -> Answer:
    return Answer({"error": {"code": "NOT_FOUND", "message": f"{what} not found"}}, 404)


def checked(kind: type, body: Any) -> Any:
    """The body as its struct: unknown keys and what its own checks find is refused."""
    known = {field.encode_name for field in msgspec.structs.fields(kind)}
    assert set(body) <= known, f"unknown keys {set(body) - known}"
    return kind(**body)  # its own checks run; the unions of some cannot be converted


class PineconeWire(WireServer):
    """Indexes by name, each with documents by namespace."""

    def __init__(self, *, lag: int = 0) -> None:
        """`lag`: so many requests pass before a write is found."""
        super().__init__()
        self.indexes: dict[str, dict[str, Any]] = {}
        self.held: dict[str, dict[str, dict[str, Any]]] = {}
        self.unready = 0
        """How often a new index is told to be not ready yet."""
        self.lag = lag
        self._late: list[tuple[int, Any]] = []

    def answer(self, asked: Asked) -> Answer:
        assert asked.headers["api-key"], "no key"
        if asked.headers["api-key"] != KEY:
            return Answer({"error": {"code": "UNAUTHENTICATED", "message": "Invalid API Key"}}, 401)
        assert asked.headers["x-pinecone-api-version"] == VERSION
        self._settle()
        parts = [unquote(part) for part in asked.path.split("/")[1:]]
        if parts[0] == "indexes":
            return self._control(asked, parts[1:])
        # the data plane: a host for each index, here a port of the one server told by its path
        return self._data(asked, parts)

    # ------------------------------------------------------------- control plane

    def _control(self, asked: Asked, rest: list[str]) -> Answer:
        if asked.method == "POST" and not rest:
            return self._create(asked.body)
        (name,) = rest
        if name not in self.indexes:
            return missing("Index")
        if asked.method == "DELETE":
            del self.indexes[name], self.held[name]
            return Answer(status=202)
        assert asked.method == "GET"
        return Answer(self._told(name))

    def _create(self, body: Any) -> Answer:
        checked(CreateIndexRequest, body)
        schema = msgspec.convert(body["schema"], IndexSchema)
        for field in schema.fields.values():
            assert isinstance(field, DenseVectorField | SparseVectorField)
        name = body["name"]
        assert 1 <= len(name) <= 45
        assert all(each in "abcdefghijklmnopqrstuvwxyz0123456789-" for each in name)
        assert name[0] != "-"
        assert name[-1] != "-"
        for key, value in body["tags"].items():
            assert len(key) <= 80
            assert len(value) <= 120
        assert body["deployment"]["deployment_type"] in ("managed", "pod", "byoc")
        if name in self.indexes:
            return Answer({"error": {"code": "ALREADY_EXISTS", "message": "exists"}}, 409)
        self.indexes[name] = {**body, "unready": self.unready}
        self.held[name] = {}
        return Answer(self._told(name), 201)

    def _told(self, name: str) -> dict[str, Any]:
        kept = self.indexes[name]
        ready = kept["unready"] <= 0
        kept["unready"] -= 1
        return {
            "name": name,
            "schema": kept["schema"],
            "deployment": kept["deployment"],
            "tags": kept["tags"],
            "deletion_protection": "disabled",
            "status": {"ready": ready, "state": "Ready" if ready else "Initializing"},
            **({"host": f"{self.url}/{name}"} if ready else {}),
        }

    # ------------------------------------------------------------- data plane

    def _data(self, asked: Asked, parts: list[str]) -> Answer:
        name, *rest = parts
        if name not in self.indexes:
            return missing("Index")
        if rest == ["describe_index_stats"]:
            spaces = {each: {"vectorCount": len(kept)} for each, kept in self.held[name].items()}
            total = sum(map(len, self.held[name].values()))
            return Answer(
                {
                    "namespaces": spaces,
                    "totalVectorCount": total,
                    "indexFullness": 0.0,
                    "dimension": 4,
                }
            )
        kind, where, documents, verb = rest
        assert (asked.method, kind, documents) == ("POST", "namespaces", "documents")
        assert 1 <= len(where) <= 512
        assert where.isascii()
        handler = getattr(self, f"_{verb}")
        answer: Answer = handler(name, where, asked)
        return answer

    def _later(self, work: Any) -> None:
        self._late.append((self.lag, work))
        self._settle()

    def _settle(self) -> None:
        waiting, self._late = self._late, []
        for left, work in waiting:
            if left <= 0:
                work()
            else:
                self._late.append((left - 1, work))

    def _upsert(self, name: str, where: str, asked: Asked) -> Answer:
        assert asked.size <= 2_000_000, f"{asked.size} bytes"
        checked(UpsertDocumentsRequest, asked.body)
        documents = asked.body["documents"]
        assert len({each["_id"] for each in documents}) == len(documents)
        for each in documents:
            self._check_document(name, each)

        def work() -> None:
            space = self.held[name].setdefault(where, {})
            space.update({each["_id"]: each for each in documents})

        self._later(work)
        return Answer({"upserted_count": len(documents)})

    def _check_document(self, name: str, made: dict[str, Any]) -> None:
        schema = msgspec.convert(self.indexes[name]["schema"], IndexSchema)
        for field, kind in schema.fields.items():
            value = made.get(field)
            if isinstance(kind, DenseVectorField):
                assert value is not None, "every document needs its dense vector"
                assert len(value) == kind.dimension
                assert all(math.isfinite(each) for each in value)
                assert any(value), "a vector of zeros"
            elif value is not None:
                indices, values = value["indices"], value["values"]
                assert set(value) == {"indices", "values"}
                assert 1 <= len(indices) == len(values) <= 2_048
                assert len(set(indices)) == len(indices)
                assert all(0 <= each < 2**32 for each in indices)
                assert all(values)
        for field, value in made.items():
            if field not in schema.fields and field != "_id":
                assert isinstance(value, str | bool | int | float), f"{field} is {value!r}"
                assert field[0] not in "_$"

    def _delete(self, name: str, where: str, asked: Asked) -> Answer:
        checked(DeleteDocumentsRequest, asked.body)
        if where not in self.held[name]:
            return missing("Namespace")

        def work() -> None:
            space = self.held[name].get(where, {})
            for id_ in list(space) if asked.body.get("delete_all") else asked.body["ids"]:
                space.pop(id_, None)

        self._later(work)
        return Answer({})

    def _list(self, name: str, where: str, asked: Asked) -> Answer:
        checked(ListDocumentsRequest, asked.body)
        if where not in self.held[name]:
            return missing("Namespace")
        after = asked.body.get("pagination_token", "")
        limit = asked.body.get("limit", 100)
        ids = sorted(id_ for id_ in self.held[name][where] if id_ > after)
        page = ids[:limit]
        told: dict[str, Any] = {
            "documents": [{"_id": id_} for id_ in page],
            "namespace": where,
            "usage": {"read_units": 1},
        }
        if len(ids) > limit:
            told["pagination"] = {"next": page[-1]}
        return Answer(told)

    def _fetch(self, name: str, where: str, asked: Asked) -> Answer:
        checked(FetchDocumentsRequest, asked.body)
        space = self.held[name].get(where, {})
        wanted = asked.body["include_fields"]
        found = {
            id_: {key: value for key, value in space[id_].items() if key in (*wanted, "_id")}
            for id_ in asked.body["ids"]
            if id_ in space
        }
        return Answer({"documents": found, "namespace": where, "usage": {"read_units": 1}})

    def _search(self, name: str, where: str, asked: Asked) -> Answer:
        checked(SearchDocumentsRequest, asked.body)
        if where not in self.held[name]:
            return missing("Namespace")
        (clause,) = asked.body["score_by"]
        assert clause["field"] in self.indexes[name]["schema"]["fields"]
        fits = [
            each
            for each in self.held[name][where].values()
            if self._fits(name, asked.body["filter"], each)
        ]
        scored = [(score, each) for each in fits if (score := _score(clause, each)) is not None]
        scored.sort(key=lambda pair: -pair[0])
        fields = asked.body.get("include_fields", [])
        matches = [
            {"_id": each["_id"], "_score": score, **{f: each[f] for f in fields if f in each}}
            for score, each in scored[: asked.body["top_k"]]
        ]
        return Answer({"matches": matches, "namespace": where, "usage": {"read_units": 1}})

    def _fits(self, name: str, condition: dict[str, Any], made: dict[str, Any]) -> bool:
        assert condition
        results = []
        for key, value in condition.items():
            if key == "$and":
                results += [self._fits(name, each, made) for each in value]
                continue
            assert key not in self.indexes[name]["schema"]["fields"], "a data field is no filter"
            ((comparison, operand),) = value.items()
            assert comparison in COMPARISONS
            if comparison == "$exists":
                results.append((key in made) is operand)
            else:
                results.append(key in made and made[key] == operand)
        return all(results)


def _score(clause: dict[str, Any], made: dict[str, Any]) -> float | None:
    if clause["type"] == "dense_vector":
        one, other = np.array(clause["values"]), np.array(made[clause["field"]])
        return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))
    assert clause["type"] == "sparse_vector"
    if clause["field"] not in made:
        return None
    kept = made[clause["field"]]
    weights = dict(zip(kept["indices"], kept["values"], strict=True))
    asked = clause["sparse_values"]
    pairs = zip(asked["indices"], asked["values"], strict=True)
    total = sum(weights.get(index, 0.0) * value for index, value in pairs)
    return total or None
