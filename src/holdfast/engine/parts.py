"""What the verbs work with: the assembled parts and the settings they read."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import tzinfo

from holdfast.clock import Clock, Ids
from holdfast.config.retention import Rule
from holdfast.core.fence import OPEN, Fence
from holdfast.core.pricing import Unpriced
from holdfast.directory import ProjectInfo, Where
from holdfast.engine.auditing import Auditor
from holdfast.engine.embedders import Embedders
from holdfast.engine.indexing import Feeder
from holdfast.engine.redaction import Hiding
from holdfast.engine.savings import Savings
from holdfast.engine.tolls import Tollgate
from holdfast.metrics import Metrics
from holdfast.model import Job, Json, Project, Scope, Trust, TrustPolicy
from holdfast.ports import LLM, Directory, Embedder, Index, Jobs, Prices, Records, Reranker
from holdfast.ports.audit import Trail
from holdfast.ports.sealing import Seals
from holdfast.ports.subjects import Subjects


class SettingsCache:
    """What was set for projects, remembered until the directory changes."""

    def __init__(self) -> None:
        self._known: dict[str, Mapping[str, Json]] = {}
        self._stamp = -1

    async def of(self, directory: Directory, project: str) -> Mapping[str, Json]:
        """The settings of a project; empty if nothing was set."""
        stamp = await directory.stamp()
        if stamp != self._stamp:
            self._known, self._stamp = {}, stamp
        if project not in self._known:
            found = await directory.select(ProjectInfo, Where("id", project))
            settings = found[0].settings if found else {}
            if self._stamp != stamp:  # something changed while this was looked up
                return settings
            self._known[project] = settings
        return self._known[project]


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything a verb may touch; made in `assemble.py`, the only place that knows them all."""

    project: Project
    records: Records
    jobs: Jobs
    index: Index
    embedders: Embedders
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
    directory: Directory
    home: Project
    """The project of the configuration, which is there from the start."""
    subjects: Subjects
    """What the records keep of one subject."""
    reranker: Reranker | None = None
    fence: Fence = OPEN
    """What the caller may see of the project."""
    trust: Trust = "trusted"
    """untrusted: whatever the caller adds is held."""
    trust_policy: TrustPolicy = field(default_factory=TrustPolicy)
    """What is held by the configuration."""
    toll: Tollgate | None = None
    """Stands before calls of models; None: they are free."""
    prices: Prices = field(default_factory=Unpriced)
    """What calls of models cost."""
    retention: Mapping[Rule, float] = field(default_factory=dict)
    """Rules of the configuration, in days: what is removed for its age in every project."""
    savings: Savings | None = None
    """Counts calls that caches made unnecessary."""
    project_settings: SettingsCache = field(default_factory=SettingsCache)
    metrics: Metrics = field(default_factory=Metrics)
    """What is counted while the verbs work."""
    feeder: Feeder | None = None
    """Feeds the external index, if there is one."""
    hiding: Hiding | None = None
    """Takes personal data out of what is stored, if that is configured."""
    seals: Seals | None = None
    """Works on all sealed texts, if texts are sealed."""
    audit: Auditor | None = None
    """Takes down what was done, unless nothing is to be."""
    trail: Trail | None = None
    """What was taken down, this or another time."""
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when there is new work for the background workers."""

    @property
    def embedder(self) -> Embedder:
        """That of the space which is searched."""
        return self.embedders.now.embedder


def scope_of(job: Job) -> Scope:
    """Whose memories a job makes."""
    user_id, agent_id, app_id, run_id = job.payload["scope"]
    return Scope(user_id=user_id, agent_id=agent_id, app_id=app_id, run_id=run_id)
