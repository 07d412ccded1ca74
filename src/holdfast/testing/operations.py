"""Random operations on a record store, from pools so small that everything meets everything.

Where a strategy takes `here`, the memories that are there: it prefers what can succeed, because one
operation that fails undoes its whole commit.
"""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

from holdfast.core.identity import scope_key
from holdfast.filters import And, Compare, Everything, Filter, Not, Or
from holdfast.model import (
    ANY,
    Cost,
    Entity,
    IndexTerms,
    Job,
    Kind,
    Memory,
    Project,
    Scope,
    Source,
    Turn,
    Usage,
)
from holdfast.ports import (
    EditMemory,
    FinishJob,
    Listing,
    Op,
    PutJob,
    PutMemory,
    PutTurns,
    PutUsage,
    RemoveMemories,
    Reset,
    SetVectors,
    View,
)

NOW = 1_700_000_000.0
PROJECTS = (Project("red"), Project("blue"))
MEMORIES = ("m0", "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "日本 '9'")
TURNS = ("t0", "t1", "t2")
JOBS = ("j0", "j1", "j2", "j3")
KEYS = ("k0", "k1")
OWNERS = ("me", "you")
USERS, AGENTS, RUNS = ("alice", "bob"), ("x",), ("r",)
TEXTS = ("tea", "TEA", "日本語 🎉", "")
DAYS = ("2023-11-13", "2023-11-14", "2999-12-31")
VECTORS = (b"\x00\x00\x80?" + bytes(12), bytes(4) + b"\x00\x00\x80?" + bytes(8))

ENTITIES = (
    *(Entity("user", id_) for id_ in (*USERS, ANY)),
    *(Entity("agent", id_) for id_ in (*AGENTS, ANY)),
    *(Entity("run", id_) for id_ in (*RUNS, ANY)),
)
KINDS: tuple[Kind, ...] = ("fact", "fact", "fact", "turn", "turn", "summary")

times = st.sampled_from([NOW + seconds for seconds in (-86_400.0, -1.0, 0.0, 0.5, 7.0, 86_400.0)])
memory_ids = st.sampled_from(MEMORIES)
texts = st.sampled_from(TEXTS)
days = st.sampled_from((None, *DAYS))
vectors = st.sampled_from((None, *VECTORS))
metadata = st.sampled_from([None, {}, {"k": 1}, {"k": "tea", "l": [1, "tea"]}, {"l": None}])
categories = st.sampled_from([(), ("food",), ("food", "o'k")])
index_terms = st.sampled_from([IndexTerms(), IndexTerms(terms=b"12345678", words=1, flags=256)])
projects = st.sampled_from((*PROJECTS[:1] * 3, *PROJECTS))
owners = st.sampled_from((*OWNERS[:1] * 3, *OWNERS))
job_ids = st.sampled_from(JOBS)
durations = st.sampled_from((1.0, 5.0, 86_400.0))
turn_ids = st.lists(st.sampled_from(TURNS), max_size=2).map(tuple)


@st.composite
def scopes(draw: st.DrawFn) -> Scope:
    """A scope that names somebody."""
    user, agent = draw(
        st.sampled_from(
            [("alice", None), ("alice", None), ("bob", None), ("alice", "x"), (None, "x")]
        )
    )
    return Scope(
        user_id=user, agent_id=agent, run_id=draw(st.sampled_from((None, None, None, "r")))
    )


def _present(here: Sequence[str]) -> st.SearchStrategy[str]:
    """Mostly ids of memories that are there."""
    return st.sampled_from((*here, *here, MEMORIES[0]))


def _absent(here: Sequence[str]) -> st.SearchStrategy[str]:
    """Mostly ids of memories that are not there."""
    free = [id_ for id_ in MEMORIES if id_ not in here]
    return st.sampled_from((*free * 3, *MEMORIES[:2]))


@st.composite
def _memories(draw: st.DrawFn, ids: st.SearchStrategy[str]) -> Memory:
    scope = draw(scopes())
    text = draw(texts)
    created = draw(times)
    kind = draw(st.sampled_from(KINDS))
    return Memory(
        id=draw(ids),
        text=text,
        hash=f"hash of {text}",
        kind=kind,
        user_id=scope.user_id,
        agent_id=scope.agent_id,
        run_id=scope.run_id,
        actor_id=draw(st.sampled_from((None, "Ann"))),
        role=draw(st.sampled_from((None, "user", "assistant"))),
        metadata=draw(metadata),
        categories=draw(categories),
        listed=kind != "turn" or draw(st.booleans()),
        immutable=draw(st.sampled_from((False, False, False, True))),
        event_at=draw(times),
        valid_from=draw(st.none() | times),
        expires_on=draw(days),
        created_at=created,
        updated_at=created,
    )


@st.composite
def puts(draw: st.DrawFn, here: Sequence[str], id_: str | None = None) -> PutMemory:
    """A memory that is one with others of its scope and kind that differ in case only."""
    memory = draw(_memories(_absent(here) if id_ is None else st.just(id_)))
    identity = f"{memory.kind} {scope_key(memory.scope)} {memory.text.casefold()}"
    return PutMemory(
        memory=memory,
        identity=identity.encode(),
        terms=draw(index_terms),
        vector=draw(vectors),
        sources=tuple(Source(turn_id=turn_id) for turn_id in draw(turn_ids)),
        supersedes=draw(st.lists(_present(here), max_size=1).map(tuple)),
    )


@st.composite
def edits(draw: st.DrawFn, here: Sequence[str]) -> EditMemory:
    """An edit of everything or of next to nothing."""
    text = draw(st.none() | texts)
    return EditMemory(
        memory_id=draw(_present(here)),
        at=draw(times),
        text=text,
        hash=None if text is None else f"hash of {text}",
        identity=draw(st.sampled_from((None, None, b"new identity", b"another one"))),
        terms=draw(st.none() | index_terms),
        vector=draw(vectors),
        metadata=draw(metadata),
        expires_on=draw(days),
        set_expires=draw(st.booleans()),
        event_at=draw(st.none() | times),
        listed=draw(st.sampled_from((None, None, True, False))),
        categories=draw(st.none() | categories),
    )


@st.composite
def turns(draw: st.DrawFn) -> PutTurns:
    """All raw turns there can be."""
    made = [Turn(id=id_, role="user", text=draw(texts), event_at=draw(times)) for id_ in TURNS]
    return PutTurns(scope=Scope(user_id="alice"), turns=tuple(made))


def jobs(project: Project) -> st.SearchStrategy[Job]:
    """A job, waiting or done."""
    return st.builds(
        Job,
        id=job_ids,
        project=st.just(project),
        kind=st.sampled_from(("extract", "embed", "store")),
        state=st.sampled_from(("PENDING", "PENDING", "SUCCEEDED", "FAILED")),
        scope_key=st.sampled_from(("s", "t")),
        payload=st.sampled_from(({}, {"memories": ["m0"]})),
        idempotency_key=st.sampled_from((None, *KEYS)),
        result=st.sampled_from((None, [1])),
        run_after=times,
        created_at=times,
    )


def finishes(running: Sequence[str]) -> st.SearchStrategy[FinishJob]:
    """The end of a job, mostly of one that runs."""
    return st.builds(
        FinishJob,
        job_id=st.sampled_from((*running, *running, JOBS[0])),
        owner=owners,
        state=st.sampled_from(("SUCCEEDED", "FAILED", "PENDING")),
        at=times,
        result=st.sampled_from((None, {"results": []})),
        error=st.sampled_from((None, "why")),
        run_after=times,
    )


usages = st.builds(
    PutUsage,
    usage=st.just(Usage(model="m", input_tokens=3)),
    operation=st.just("add"),
    scope=scopes(),
    at=times,
    key_id=st.sampled_from((None, "k")),
    cost=st.sampled_from((None, Cost(nano_usd=5, version="v1"))),
)

_leaves: st.SearchStrategy[Filter] = st.one_of(
    st.builds(Compare, st.just("user_id"), st.sampled_from(("eq", "ne")), st.sampled_from(USERS)),
    st.builds(Compare, st.just("id"), st.just("in"), st.lists(memory_ids, max_size=3).map(tuple)),
    st.builds(Compare, st.just("text"), st.sampled_from(("contains", "icontains")), texts),
    st.builds(Compare, st.just("metadata.k"), st.sampled_from(("eq", "gte")), st.just(1)),
    st.builds(Compare, st.just("kind"), st.just("eq"), st.sampled_from(("fact", "turn"))),
    st.builds(Compare, st.just("event_at"), st.sampled_from(("gt", "lte")), times),
    st.sampled_from((Compare("run_id", "*"), Compare("categories", "eq", "food"), Everything())),
)
filters: st.SearchStrategy[Filter] = st.recursive(
    _leaves,
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(And, st.lists(inner, max_size=2).map(tuple)),
        st.builds(Or, st.lists(inner, max_size=2).map(tuple)),
    ),
    max_leaves=3,
)


def removals(here: Sequence[str]) -> st.SearchStrategy[RemoveMemories]:
    """A removal of one memory, or of what some filter finds."""
    single = st.builds(Compare, st.just("id"), st.just("eq"), _present(here))
    return st.builds(
        RemoveMemories,
        filter=st.one_of(single, single, filters),
        at=times,
        erase_history=st.booleans(),
        limit=st.sampled_from((None, None, 0, 1, 2)),
    )


views = st.builds(
    View,
    now=times,
    as_of=st.none() | times,
    show_expired=st.booleans(),
    show_superseded=st.booleans(),
    listed_only=st.booleans(),
)
listings = st.builds(
    Listing,
    filter=filters,
    view=views,
    size=st.sampled_from((1, 2, 50)),
    offset=st.sampled_from((0, 0, 1)),
    oldest_first=st.booleans(),
)


def fills(here: Sequence[str]) -> st.SearchStrategy[SetVectors]:
    """Vectors for some memories."""
    pairs = st.tuples(_present(here), st.sampled_from(VECTORS))
    return st.lists(pairs, max_size=2).map(lambda chosen: SetVectors(vectors=tuple(chosen)))


def operations(project: Project, here: Sequence[str]) -> st.SearchStrategy[tuple[Op, ...]]:
    """What one commit of this project does to memories."""
    rare: st.SearchStrategy[Op] = st.one_of(
        usages, jobs(project).map(lambda job: PutJob(job=job)), finishes(()), st.just(Reset())
    )
    common: list[st.SearchStrategy[Op]] = [
        *[puts(here)] * 5,
        turns(),
        *[edits(here)] * 2,
        *[removals(here)] * 2,
        fills(here),
    ]
    op = st.sampled_from([*common * 2, rare]).flatmap(lambda chosen: chosen)
    return st.lists(op, min_size=1, max_size=4).map(tuple)


def queue_operations(project: Project, running: Sequence[str]) -> st.SearchStrategy[tuple[Op, ...]]:
    """What one commit of this project does to jobs, of which these run."""
    op: st.SearchStrategy[Op] = st.one_of(
        jobs(project).map(lambda job: PutJob(job=job)), finishes(running)
    )
    return st.lists(op, min_size=1, max_size=2).map(tuple)
