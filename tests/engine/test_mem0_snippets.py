"""What Mem0's documentation shows for its open-source library, with only the import changed.

Written from the documented calls and shapes; nothing is configured, as in a first try.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast import AsyncMemory, Memory

BASKETBALL = [
    {"role": "user", "content": "Hi, I'm Alex. I love basketball and gaming."},
    {"role": "assistant", "content": "Hey Alex! I'll remember your interests."},
]
MOVIES = [
    {"role": "user", "content": "I'm planning to watch a movie tonight. Any recommendations?"},
    {"role": "assistant", "content": "How about thriller movies? They can be quite engaging."},
    {"role": "user", "content": "I'm not a big fan of thrillers but I love sci-fi movies."},
    {"role": "assistant", "content": "Got it! I'll suggest sci-fi movies in the future."},
]


def test_quickstart() -> None:
    m = Memory()
    try:
        m.add(BASKETBALL, user_id="alex")
        results = m.search("What do you know about me?", filters={"user_id": "alex"})
        assert any("basketball" in r["memory"] for r in results["results"])
    finally:
        m.close()


def test_every_documented_call() -> None:
    m = Memory()
    try:
        result = m.add(MOVIES, user_id="alice", metadata={"category": "movie_recommendations"})
        memory_id = result["results"][0]["id"]
        all_memories = m.get_all(filters={"user_id": "alice"})
        assert len(all_memories["results"]) == 4
        specific = m.get(memory_id)
        assert specific is not None
        assert specific["id"] == memory_id
        related = m.search(query="What movies does alice love?", filters={"user_id": "alice"})
        assert "sci-fi" in related["results"][0]["memory"]
        m.update(memory_id=memory_id, data="I love India, it is my favorite country.")
        history = m.history(memory_id=memory_id)
        assert [event["event"] for event in history] == ["ADD", "UPDATE"]
        m.delete(memory_id=memory_id)
        m.delete_all(user_id="alice")
        assert m.get_all(filters={"user_id": "alice"})["results"] == []
        m.reset()
    finally:
        m.close()


def test_chat_with_memories() -> None:
    memory = Memory()

    def chat_with_memories(message: str, user_id: str = "default_user") -> str:
        relevant = memory.search(query=message, filters={"user_id": user_id}, top_k=3)
        known = "\n".join(f"- {entry['memory']}" for entry in relevant["results"])
        messages = [
            {"role": "system", "content": f"You are helpful.\nUser memories:\n{known}"},
            {"role": "user", "content": message},
            {"role": "assistant", "content": "Noted."},
        ]
        memory.add(messages, user_id=user_id)
        return known

    try:
        assert chat_with_memories("My dog is called Biscuit and hates rain") == ""
        assert "Biscuit" in chat_with_memories("What is my dog called?")
    finally:
        memory.close()


def test_a_mem0_configuration(tmp_path: Path) -> None:
    config = {
        "vector_store": {
            "provider": "qdrant",
            "config": {"path": str(tmp_path / "qdrant"), "collection_name": "test"},
        },
        "version": "v1.1",
    }
    m = Memory.from_config(config)
    try:
        m.add("I prefer window seats", user_id="alice", infer=False)
        assert m.search("window seats", filters={"user_id": "alice"})["results"]
        assert (tmp_path / "qdrant").is_dir()
    finally:
        m.close()


async def test_async() -> None:
    memory = AsyncMemory()
    try:
        await memory.add(messages=BASKETBALL, user_id="alice")
        found = await memory.search(query="basketball", filters={"user_id": "alice"})
        assert found["results"]
        await memory.get_all(filters={"user_id": "alice"})
        await memory.delete_all(user_id="alice")
    finally:
        memory.close()


def test_documented_refusals() -> None:
    m = Memory()
    try:
        with pytest.raises(ValueError, match="user_id"):
            m.add("nobody's", infer=False)
        with pytest.raises(ValueError, match="query"):
            m.search("", filters={"user_id": "alice"})
        with pytest.raises(ValueError, match="threshold"):
            m.search("x", filters={"user_id": "alice"}, threshold=2)
        with pytest.raises(ValueError, match="top_k"):
            m.search("x", filters={"user_id": "alice"}, top_k=-1)
        with pytest.raises(ValueError, match="not found"):
            m.delete("6c9e1c1e-0000-4000-8000-000000000000")
    finally:
        m.close()
