"""Ranking: each signal, the scores, and that nothing breaks it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.rank import rank
from holdfast.core.signals import LEVELS_OFF, SIGNALS, STANDING_MAX
from holdfast.core.text import analyze, analyze_query
from holdfast.core.view import BM25_K1, EntityView, Entry
from holdfast.core.weights import (
    ASSISTANT,
    ASSISTANT_CONTEXTUAL,
    PEOPLE,
    PEOPLE_CONTEXTUAL,
    PROFILES,
    Weights,
)
from holdfast.ports import QueryEmbedding

TALK = [
    ("Ann", "Good morning, how was the weekend?"),
    ("Bo", "We went to the lake and rented a wooden boat."),
    ("Ann", "Lovely! Did you take the dog along?"),
    ("Bo", "Yes, he swam for an hour."),
    ("Ann", "My sister bought a piano last Tuesday."),
    ("Bo", "Which colour is it?"),
    ("Ann", "Black, and it weighs 300 kilos."),
    ("Bo", "I am learning Italian in the evenings."),
]


def view_of(talk: list[tuple[str, str]], vectors: Any = None, **changes: Any) -> EntityView:
    made = []
    for seq, (actor, said) in enumerate(talk):
        role = actor if actor in ("user", "assistant") else None
        found = analyze(said, actor=actor, role=role)
        made.append(
            Entry(
                id=f"m{seq}",
                seq=seq,
                terms=found.terms,
                flags=found.flags,
                words=found.words,
                speaker=found.speaker,
                role=role,
                vector=None if vectors is None else np.asarray(vectors[seq], "<f4").tobytes(),
                **{"event_time": 60.0 * seq, "session": "s", **changes},
            )
        )
    return EntityView.build(made, 2)


def only(*signals: str) -> Weights:
    """These signals at weight one, the others silent."""
    return msgspec.structs.replace(PEOPLE, signals=dict.fromkeys(signals, 1.0))


def best(view: EntityView, question: str, weights: Weights | None = None) -> int:
    return int(rank(view, analyze_query(question), None, weights=weights).rows[0])


@pytest.mark.parametrize(
    ("question", "row"),
    [
        ("Who rented a boat?", 1),
        ("What did the sister buy? A piano?", 4),
        ("Which language is Bo learning?", 7),
    ],
)
def test_the_answer_comes_first(question: str, row: int) -> None:
    assert best(view_of(TALK), question) == row


def test_keywords_weigh_by_rarity() -> None:
    talk = [("Ann", "the garden garden"), ("Ann", "the orchid"), ("Bo", "garden"), ("Bo", "garden")]
    assert best(view_of(talk), "garden orchid", only("keyword")) == 1


def test_context_counts_what_neighbours_say() -> None:
    view = view_of(TALK)
    parts = rank(view, analyze_query("dog"), None, limit=8, weights=only("context"))
    value = dict(zip(parts.rows.tolist(), parts.parts["context"].tolist(), strict=True))
    assert value[3] > value[4] > 0.0
    assert value[2] == 0.0, "the row itself has the word"
    assert value[6] == value[0] == 0.0


def test_context_does_not_cross_sessions() -> None:
    def added(second: str) -> float:
        first = view_of([("Ann", "a dog")])
        other = analyze("a walk", actor="Bo", role=None)
        row = Entry(
            id="b",
            seq=1,
            terms=other.terms,
            flags=other.flags,
            words=other.words,
            speaker=other.speaker,
            event_time=60.0,
            session=second,
        )
        found = rank(first.extended([row]), analyze_query("dog"), None, weights=only("context"))
        return float(found.parts["context"][found.rows.tolist().index(1)])

    assert added("s") > 0.0
    assert added("t") == 0.0


def test_a_session_counts_each_word_once_wherever_it_is() -> None:
    def share(talk: list[tuple[str, str]]) -> float:
        found = rank(
            view_of(talk), analyze_query("boat piano"), None, weights=only("session"), limit=1
        )
        return float(found.parts["session"][0])

    apart = share([("Ann", "the boat"), ("Ann", "the piano"), ("Ann", "tea")])
    one = share([("Ann", "the boat"), ("Ann", "tea"), ("Ann", "tea")])
    # rows of average length that have a word once: 1 / (1 + k1) of all the information
    assert apart == pytest.approx(1.0 / (1.0 + BM25_K1), rel=0.01)
    assert apart > 1.5 * one


@pytest.mark.parametrize(
    ("signal", "question", "rows"),
    [
        ("time", "When did she buy it?", {4, 1, 3, 0, 7}),
        ("number", "How many kilos?", {6}),
        ("speaker", "What does Bo like?", {1, 3, 5, 7}),
    ],
)
def test_signals_by_what_is_asked(signal: str, question: str, rows: set[int]) -> None:
    ranking = rank(view_of(TALK), analyze_query(question), None, limit=8, weights=only(signal))
    lit = {
        row for row, v in zip(ranking.rows.tolist(), ranking.parts[signal], strict=True) if v > 0
    }
    assert lit <= rows
    assert lit
    quiet = rank(view_of(TALK), analyze_query("colour"), None, weights=only(signal))
    assert signal not in quiet.parts


def test_dates_named_meet_the_date_of_the_row() -> None:
    talk = [("Ann", "one thing"), ("Ann", "other thing")]
    made = view_of(talk, event_time=datetime(2023, 7, 12, 18, tzinfo=UTC).timestamp())
    for question in ("on 12 July 2023", "in July 2023", "in 2023", "on July 12", "in July"):
        found = rank(made, analyze_query(f"colour {question}"), None, weights=only("date"))
        assert found.parts["date"].tolist() == [1.0, 1.0], question
    for question in ("on 13 July 2023", "in June", "in 2022", "on July 13"):
        found = rank(made, analyze_query(question), None, weights=only("date"))
        assert found.parts["date"].tolist() == [0.0, 0.0], question


@pytest.mark.parametrize("weights", PROFILES)
def test_a_question_for_nothing_but_a_time_is_answered_by_that_time(weights: Weights) -> None:
    def entries(said: str, at: datetime, start: int) -> list[Entry]:
        found = analyze(said, actor="Ann", role=None)
        return [
            Entry(id=f"m{seq}", seq=seq, terms=found.terms, flags=found.flags, words=found.words,
                  speaker=found.speaker, event_time=at.timestamp(), session="s")
            for seq in (start, start + 1)
        ]  # fmt: skip

    view = EntityView.build(
        [
            *entries(
                "The roof will be mended in June, they say.", datetime(2024, 2, 1, tzinfo=UTC), 0
            ),
            *entries("Leo fell off a swing.", datetime(2024, 6, 3, tzinfo=UTC), 2),
            *entries("We sold the boat.", datetime(2024, 7, 9, tzinfo=UTC), 4),
        ],
        2,
    )
    june = rank(view, analyze_query("What happened in June?"), None, limit=6, weights=weights)
    scores = dict(zip(june.rows.tolist(), june.scores.tolist(), strict=True))
    assert min(scores[2], scores[3]) > 0.4
    assert max(scores[4], scores[5]) < 0.1
    named = rank(view, analyze_query("Who sold it in June?"), None, limit=6, weights=weights)
    assert dict(zip(named.rows.tolist(), named.scores.tolist(), strict=True))[2] < scores[2] - 0.1


def test_questions_and_replies() -> None:
    ranking = rank(
        view_of(TALK), analyze_query("colour"), None, limit=8, weights=only("question", "reply")
    )
    question = dict(zip(ranking.rows.tolist(), ranking.parts["question"].tolist(), strict=True))
    reply = dict(zip(ranking.rows.tolist(), ranking.parts["reply"].tolist(), strict=True))
    assert {row for row, value in question.items() if value} == {0, 2, 5}
    assert {row for row, value in reply.items() if value} == {6}


def test_the_user_is_believed_in_chats_with_an_assistant() -> None:
    talk = [("user", "My cat is Tom."), ("assistant", "Your cat is Tom, noted: Tom, the cat Tom.")]
    view = view_of(talk)
    assert view.has_assistant
    assert best(view, "What is the name of my cat?") == 0
    assert ASSISTANT.signals["user"] > PEOPLE.signals["user"]


def test_vectors_alone_rank_where_no_word_does() -> None:
    view = view_of(TALK[:3], [[1, 0], [0, 1], [1, 0]])
    embedding = QueryEmbedding(vector=np.array([0, 1], np.float32))
    ranking = rank(view, analyze_query("who are they?"), embedding, limit=1)
    assert ranking.rows.tolist() == [1]
    assert "semantic" in ranking.parts


def test_pieces_weigh_by_the_rarity_of_their_word() -> None:
    talk = [("Ann", "tea common"), ("Ann", "coffee common"), ("Ann", "common"), ("Ann", "common")]
    view = view_of(talk, [[1, 0], [0, 1], [1, 0], [1, 0]])
    question = "common coffee"
    pieces = np.array([[1, 0], [0, 1]], np.float32)
    spans = ((0, 6), (6, 13))
    weighted = QueryEmbedding(vector=np.array([0.9, 0.44], np.float32), pieces=pieces, spans=spans)
    plain = QueryEmbedding(vector=weighted.vector)
    query = analyze_query(question)
    assert rank(view, query, weighted, limit=1, weights=only("semantic")).rows[0] == 1
    assert rank(view, query, plain, limit=1, weights=only("semantic")).rows[0] != 1


def test_similarity_of_weighted_words_levels_off() -> None:
    angles = np.concatenate((np.linspace(1.2, 1.5, 60), [0.9, 0.6, 0.3, 0.0]))
    view = view_of(
        [("Ann", "so")] * len(angles), np.stack((np.cos(angles), np.sin(angles)), axis=1)
    )
    vector = np.array([1, 0], np.float32)
    whole = QueryEmbedding(vector=vector)
    words = QueryEmbedding(vector=vector, pieces=vector[None], spans=((0, 4),))

    def last_steps(embedding: QueryEmbedding) -> Any:
        found = rank(
            view, analyze_query("boat"), embedding, weights=only("semantic"), limit=len(angles)
        )
        assert (np.diff(found.parts["semantic"]) <= 0.0).all()
        return found.parts["semantic"][:4]

    as_it_is, level = last_steps(whole), last_steps(words)
    assert np.allclose(level, np.tanh(LEVELS_OFF * as_it_is), atol=1e-6)
    assert level[0] > level[1], "more is never worth less"
    assert level[0] - level[1] < as_it_is[0] - as_it_is[1]


def test_words_that_frame_a_question_tell_less() -> None:
    talk = [("Ann", "A list of different things"), ("Bo", "The lighthouse"), ("Bo", "A lighthouse")]
    view = view_of([*talk, *[("Bo", "tea")] * 5])
    framed = "List the different topics of our conversation: a lighthouse?"
    assert best(view, "List the different topics: a lighthouse?", only("keyword")) == 0
    assert best(view, framed, only("keyword")) == 1
    # as every embedder that sees the question as a whole was learned
    vectors = view_of([*talk, *[("Bo", "tea")] * 5], [[1, 0]] * 8)
    whole = QueryEmbedding(vector=np.array([1, 0], np.float32))
    found = rank(vectors, analyze_query(framed), whole, weights=only("keyword"))
    assert found.rows[0] == 0


def test_the_assistant_is_heard_where_a_summary_is_asked_for() -> None:
    talk = [("user", "My plan is to sail."), ("assistant", "To sail: learn, then rent a boat.")]
    view = view_of(talk)
    found = rank(view, analyze_query("A summary of my plan to sail"), None, weights=ASSISTANT)
    assert dict(zip(found.rows.tolist(), found.parts["overview"].tolist(), strict=True)) == {
        0: 0.0,
        1: pytest.approx(ASSISTANT.signals["overview"]),
    }
    assert "overview" not in rank(view, analyze_query("my plan to sail"), None).parts


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
def test_an_unusable_vector_leaves_the_keywords(value: float) -> None:
    view = view_of(TALK, [[1, 0]] * len(TALK))
    embedding = QueryEmbedding(vector=np.full(2, value, np.float32))
    ranking = rank(view, analyze_query("boat"), embedding)
    assert ranking.rows[0] == 1
    assert "semantic" not in ranking.parts
    assert np.isfinite(ranking.scores).all()


def test_only_eligible_rows_are_returned_and_the_others_are_context() -> None:
    view = view_of(TALK)
    eligible = np.zeros(len(view), dtype=np.bool_)
    eligible[[3, 7]] = True
    ranking = rank(view, analyze_query("Did the dog come along?"), None, eligible=eligible)
    assert ranking.rows.tolist() == [3, 7]
    assert ranking.parts["context"][0] > 0.0
    nothing = rank(view, analyze_query("dog"), None, eligible=np.zeros(len(view), np.bool_))
    assert nothing.rows.tolist() == []


def test_facts_are_found_beside_turns() -> None:
    turns = view_of(TALK)
    fact = analyze("Ann's sister owns a black piano", actor="Ann", role=None)
    with_fact = turns.extended(
        [
            Entry(
                id="f",
                seq=99,
                terms=fact.terms,
                flags=fact.flags,
                words=fact.words,
                speaker=fact.speaker,
                event_time=1e6,
                kind="fact",
            )
        ]
    )
    found = rank(with_fact, analyze_query("What piano does the sister own?"), None, limit=2)
    assert set(found.rows.tolist()) == {4, 8}


def test_scores_are_high_for_answers_and_low_for_strangers() -> None:
    view = view_of(TALK * 3)
    good = rank(view, analyze_query("Who rented a wooden boat at the lake?"), None)
    stranger = rank(
        view, analyze_query("What is the capital of Mongolia and its parliament?"), None
    )
    assert good.scores[0] > 0.5
    assert stranger.scores[0] < 0.2


@pytest.mark.parametrize("question", ["hello", "???", "ok", "Why?", "who am I", "\U0001f44d"])
@pytest.mark.parametrize("weights", PROFILES)
def test_a_question_without_a_word_that_tells_is_not_taken_to_be_answered(
    question: str, weights: Weights
) -> None:
    asked = analyze_query(question)
    assert asked.terms == (), "stop words only"
    unlike = QueryEmbedding(vector=np.array([1.0, 0.0], np.float32))
    for talk in (TALK, TALK[:1]):
        view = view_of(talk, [[0.1, 0.995]] * len(talk))
        for embedding in (None, unlike):
            assert rank(view, asked, embedding, weights=weights).scores[0] < 0.5


def test_limits_and_empty_views() -> None:
    empty = EntityView.build([], 2)
    assert rank(empty, analyze_query("boat"), None).rows.tolist() == []
    view = view_of(TALK)
    assert len(rank(view, analyze_query("boat"), None, limit=0).rows) == 0
    assert len(rank(view, analyze_query("boat"), None, limit=100).rows) == len(TALK)
    assert rank(view, analyze_query(""), None, limit=3).rows.tolist() != []


def test_a_cut_ranking_is_the_head_of_the_whole() -> None:
    view = view_of(TALK * 20)
    query = analyze_query("boat piano dog on Tuesday")
    whole = rank(view, query, None, limit=len(view))
    for limit in (1, 3, 10, 39):
        head = rank(view, query, None, limit=limit)
        assert head.rows.tolist() == whole.rows[:limit].tolist()
        assert head.scores.tolist() == whole.scores[:limit].tolist()


QUESTIONS = st.lists(
    st.sampled_from(
        ["boat", "dog", "Ann", "when", "July", "how many", "summary", "list", "猫", "12", "\x00"]
    ),
    max_size=6,
).map(" ".join)
LINES = st.lists(
    st.tuples(
        st.sampled_from(["Ann", "user", "assistant", "ليلى"]),
        st.sampled_from(["the boat", "dog?", "", "12 dogs in July", "猫が好き", "\ud800"]),
    ),
    max_size=8,
)


@given(LINES, QUESTIONS, st.booleans(), st.integers(-1, 12))
def test_scores_are_finite_and_fall(
    talk: list[tuple[str, str]], question: str, embedded: bool, limit: int
) -> None:
    view = view_of(talk, [[1.0, 0.0]] * len(talk))
    embedding = QueryEmbedding(vector=np.array([0.6, 0.8], np.float32)) if embedded else None
    ranking = rank(view, analyze_query(question), embedding, limit=limit)
    assert len(ranking.rows) == len(ranking.scores) == min(len(talk), max(0, limit))
    assert len(set(ranking.rows.tolist())) == len(ranking.rows)
    assert np.isfinite(ranking.scores).all()
    assert ((ranking.scores >= 0.0) & (ranking.scores <= 1.0)).all()
    assert (np.diff(ranking.scores) <= 0.0).all()
    for part in ranking.parts.values():
        assert len(part) == len(ranking.rows)
        assert np.isfinite(part).all()


def test_weights_name_signals_that_exist() -> None:
    known = set(SIGNALS)
    assert len(known) == len(SIGNALS)
    assert set(PEOPLE.signals) <= known
    assert set(ASSISTANT.signals) <= known
    assert all(set(weights.signals) <= known for weights in PROFILES)


def test_weights_are_those_of_the_kind_of_embedder_and_of_talk() -> None:
    people, vectors = view_of(TALK, np.eye(2)[[0, 1] * 4]), np.eye(2, dtype=np.float32)
    chat = view_of([("user", "a boat"), ("assistant", "a lake")], np.eye(2))
    query = analyze_query("boat")
    whole = QueryEmbedding(vector=vectors[0])
    static = QueryEmbedding(vector=vectors[0], pieces=vectors[:1], spans=((0, 4),))
    away = QueryEmbedding(vector=np.zeros(2, dtype=np.float32))
    for view, of_static, of_contextual in (
        (people, PEOPLE, PEOPLE_CONTEXTUAL),
        (chat, ASSISTANT, ASSISTANT_CONTEXTUAL),
    ):
        for embedding, weights in (
            (whole, of_contextual),
            (static, of_static),
            (away, of_static),
            (None, of_static),
        ):
            chosen = rank(view, query, embedding)
            told = rank(view, query, embedding, weights=weights)
            assert chosen.rows.tolist() == told.rows.tolist()
            assert chosen.scores.tolist() == told.scores.tolist()
            assert {k: v.tolist() for k, v in chosen.parts.items()} == {
                k: v.tolist() for k, v in told.parts.items()
            }


def test_signals_beside_the_similarity_of_whole_texts() -> None:
    talk = [("Ann", "red boat"), ("Bo", "boat"), ("Bo", "lake"), ("Ann", "nothing else")]
    view = view_of(talk, [[1, 0], [0.6, 0.8], [0.8, 0.6], [0, 1]])
    query = analyze_query("Did Bo see a red boat?")
    both = np.eye(2, dtype=np.float32)
    signals = ("standing", "matched", "rarest", "spoken")
    whole = rank(view, query, QueryEmbedding(vector=both[0]), weights=only(*signals))
    of = {
        name: dict(zip(whole.rows.tolist(), part, strict=True))
        for name, part in whole.parts.items()
    }
    assert sorted(range(4), key=lambda row: -of["standing"][row]) == [0, 2, 1, 3]
    assert of["standing"][0] == 0.0
    assert of["standing"][3] > -1.0
    assert np.isclose(of["matched"][0], np.log(3))
    assert of["matched"][3] == 0.0
    assert of["rarest"][0] == 0.0
    assert of["rarest"][1] == 0.0
    assert of["spoken"][1] > of["spoken"][2] > 0.0
    assert of["spoken"][0] == 0.0
    static = QueryEmbedding(vector=both[0], pieces=both[:1], spans=((0, 3),))
    assert set(rank(view, query, static, weights=only(*signals)).parts) == {"matched"}


def test_only_so_many_places_by_similarity_count() -> None:
    vectors = [[np.cos(angle), np.sin(angle)] for angle in np.linspace(0.0, 1.5, STANDING_MAX + 50)]
    view = view_of([("Ann", "so")] * len(vectors), vectors)
    query, embedding = analyze_query("boat"), QueryEmbedding(vector=np.array([1, 0], np.float32))
    found = rank(view, query, embedding, weights=only("standing"), limit=len(vectors))
    part = found.parts["standing"]
    assert part[0] == 0.0
    assert (np.diff(part[:STANDING_MAX]) < 0.0).all()
    assert (part[STANDING_MAX:] == -1.0).all()
