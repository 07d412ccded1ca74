"""How much recall candidates of a vector database cost, against ranking every row.

    python bench/candidate_recall.py DATA.json [--limit N] [--kept N] [--near N] [--per-word N]
        [--top-k N] [--together]

Data: as for `holdfast eval`. Every turn is stored; every question is asked of the embedded index
and of `CandidateIndex` over the exact reference engine, so that what differs is what candidates
leave out, not what an approximate engine misses. `--together` stores all conversations as one
user's. Of the timings only that of the embedded index means something: the reference engine
compares everything with everything in Python.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from holdfast import AsyncMemory
from holdfast.backends.index.builds import Builds
from holdfast.backends.index.candidates import Bounds, CandidateIndex
from holdfast.backends.index.embedded import EmbeddedIndex
from holdfast.backends.memory.vectors import Engine, MemoryVectors
from holdfast.clock import SystemClock
from holdfast.core.batches import batches
from holdfast.engine.indexing import Feeder
from holdfast.engine.ledger import Payer
from holdfast.engine.search import SearchRequest, _probe
from holdfast.eval.metrics import score
from holdfast.eval.run import Dataset, load
from holdfast.filters import entity_choices, scope_filter
from holdfast.metrics import Metrics
from holdfast.model import Scope

EVERYONE = "everyone"


async def stored(
    memory: AsyncMemory, dataset: Dataset, together: bool
) -> dict[tuple[str, str], str]:
    """Every turn as a memory: (user, turn) to its id."""
    ids: dict[tuple[str, str], str] = {}
    for conversation in dataset.conversations:
        for batch in batches(conversation):
            given = batch.arguments()
            if together:
                given |= {"user_id": EVERYONE, "run_id": batch.scope.user_id}
            answer = await memory.add(**given, infer=False)
            for record, item in zip(batch.records, answer["results"], strict=True):
                ids[batch.scope.user_id or "", record.turn_id] = item["id"]
    return ids


async def measured(dataset: Dataset, bounds: Bounds, top_k: int, together: bool) -> None:
    """Ask everything of both, and print what they found."""
    with tempfile.TemporaryDirectory() as folder:
        async with AsyncMemory({"path": folder}) as memory:
            ids = await stored(memory, dataset, together)
            parts = memory._assembly.parts  # type: ignore[union-attr]
            records: Any = parts.records
            while not hasattr(records, "indexing"):
                records = records._inner  # the records behind what is wrapped around them
            space, metrics = parts.embedder.space, Metrics()
            engine = Engine()
            builds = Builds(lambda name: MemoryVectors(engine, name), "bench", space)
            exact = EmbeddedIndex(records, space.dimensions, 1 << 30)
            index = CandidateIndex(
                records,
                records.indexing,
                builds,
                exact,
                space.dimensions,
                bounds=bounds,
                metrics=metrics,
            )
            await Feeder(records.indexing, builds, SystemClock(), metrics).round()
            sums: dict[str, float] = defaultdict(float)
            for question in dataset.questions:
                user = EVERYONE if together else question.user_id
                wanted = scope_filter(Scope(user_id=user))
                request = SearchRequest(
                    query=question.text,
                    filter=wanted,
                    top_k=top_k,
                    threshold=0.0,
                    reference=question.at,
                )
                payer = Payer(project=parts.project, operation="search", scope=Scope())
                probe = await _probe(
                    parts, request, entity_choices(wanted), payer, parts.embedders.now
                )
                evidence = {ids[question.user_id, turn] for turn in question.evidence}
                answers = {}
                for name, one in (("embedded", exact), ("candidates", index)):
                    began = time.perf_counter()
                    found = await one.search(parts.project, probe)
                    sums[f"{name} seconds"] += time.perf_counter() - began
                    answers[name] = [hit.memory.id for hit in found.hits]
                    if evidence:
                        for measure, value in score(answers[name], evidence).items():
                            sums[f"{name} {measure}"] += value
                sums["scored"] += bool(evidence)
                sums["asked"] += 1
                same = set(answers["embedded"][:10]) & set(answers["candidates"][:10])
                sums["same of the first 10"] += len(same) / max(1, len(answers["embedded"][:10]))
                sums["same first"] += answers["embedded"][:1] == answers["candidates"][:1]
            await index.close()
            report(sums, metrics)


def report(sums: dict[str, float], metrics: Metrics) -> None:
    """Means over the questions."""
    print(f"{int(sums['asked'])} questions, {int(sums['scored'])} with evidence")
    for name, total in sums.items():
        if name in ("asked", "scored"):
            continue
        per = sums["scored"] if name.split()[-1][:6] in ("recall", "hit@", "mrr", "ndcg@1") else 0.0
        print(f"{name:32} {total / (per or sums['asked']):.4f}")
    for (name, labels), value in metrics.counts().items():
        print(f"{name:32} {labels} {value:.0f}")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--kept", type=int, default=Bounds.kept)
    parser.add_argument("--near", type=int, default=Bounds.near)
    parser.add_argument("--per-word", type=int, default=Bounds.per_word)
    parser.add_argument("--top-k", type=int, default=10)
    parser.add_argument("--together", action="store_true")
    given = parser.parse_args()
    bounds = Bounds(near=given.near, per_word=given.per_word, kept=given.kept, exact_rows=0)
    dataset = load(given.file, limit=given.limit)
    asyncio.run(measured(dataset, bounds, given.top_k, given.together))


if __name__ == "__main__":
    main()
