"""Mem0 behind FastAPI, as its own server is: `python -m serverside.mem0_app PORT HOME`.

Mem0's server (`server/main.py` of its repository) calls the synchronous `Memory` from plain `def`
routes, which FastAPI runs in its pool of 40 threads. This one leaves out what costs extra there:
keys, their bcrypt hashes, the log of requests in a database. Runs in Mem0's own environment.
"""

import importlib
import sys
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from sidebyside.contender_mem0 import configuration, register_embedder

app = FastAPI()


class Message(BaseModel):
    """One message of a conversation."""

    role: str
    content: str


class MemoryCreate(BaseModel):
    """What Mem0's server takes for an add."""

    messages: list[Message]
    user_id: str | None = None
    infer: bool | None = None


class SearchRequest(BaseModel):
    """What Mem0's server takes for a search."""

    query: str
    filters: dict[str, Any] | None = None
    top_k: int | None = None


@app.post("/memories")
def add_memory(body: MemoryCreate) -> Any:
    """Stores messages."""
    params = {k: v for k, v in body.model_dump().items() if v is not None and k != "messages"}
    return app.state.memory.add(messages=[m.model_dump() for m in body.messages], **params)


@app.post("/search")
def search_memories(body: SearchRequest) -> Any:
    """Finds memories."""
    params = {k: v for k, v in body.model_dump().items() if v is not None and k != "query"}
    return app.state.memory.search(query=body.query, **params)


def main() -> None:
    """Serves until told to stop."""
    port, home = sys.argv[1:]
    mem0: Any = importlib.import_module("mem0")
    register_embedder()
    app.state.memory = mem0.Memory.from_config(configuration(Path(home)))
    uvicorn.run(app, host="127.0.0.1", port=int(port), access_log=False, log_level="warning")


if __name__ == "__main__":
    main()
