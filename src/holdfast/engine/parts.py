"""What the verbs work with: the assembled parts and the settings they read."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import tzinfo

from holdfast.clock import Clock, Ids
from holdfast.model import Project
from holdfast.ports import LLM, Embedder, Index, Jobs, Records, Reranker


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything a verb may touch; made in `assemble.py`, the only place that knows them all."""

    project: Project
    records: Records
    jobs: Jobs
    index: Index
    embedder: Embedder
    llm: LLM | None
    clock: Clock
    ids: Ids
    owner: str
    """Names this process in leases."""
    content_key: bytes
    zone: tzinfo
    zone_name: str
    instructions: str | None
    threshold: float
    model_timeout_s: float
    job_attempts_max: int
    reranker: Reranker | None = None
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when there is new work for the background workers."""
