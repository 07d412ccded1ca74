"""The contracts between Holdfast and its parts: small protocols and the values they take.

Every call that touches stored data carries the project: what another project has is unknown to it.
A method's docstring is its contract; `holdfast.testing.contracts` checks every sentence against
every back end. Texts and ids are Unicode without NUL and without lone surrogates
(`core.intake` refuses others); times are epoch seconds.
"""

from __future__ import annotations

from holdfast.ports.cache import Cache, Claim
from holdfast.ports.directory import Directory
from holdfast.ports.index import Found, Hit, Index, Probe, QueryEmbedding
from holdfast.ports.indexing import (
    Changes,
    Collections,
    Excerpt,
    IndexSource,
    Standing,
    build_number,
    held_number,
    held_numbers,
    space_number,
)
from holdfast.ports.jobs import Jobs
from holdfast.ports.models import LLM, Answer, BoundLLM, Embedder, Ranking, Reranker, Spent
from holdfast.ports.operations import (
    EditMemory,
    FillSpace,
    FinishJob,
    Hold,
    HoldBudget,
    Op,
    PutAudit,
    PutJob,
    PutMemory,
    PutRows,
    PutSpared,
    PutTurns,
    PutUsage,
    RemoveMemories,
    Reset,
    SettleBudget,
    SetVectors,
    TakeRow,
)
from holdfast.ports.records import Analyse, Delta, EntityState, Listing, Records, View
from holdfast.ports.spaces import Epoch, Filling, Spaces, SpaceSwitched, StoredSpace, Unfilled
from holdfast.ports.toll import Toll
from holdfast.ports.usage import Prices, UsageGroup, UsageQuery, UsageSum
from holdfast.ports.vectors import Match, Optimizes, Point, TermMatches, Vectors
from holdfast.ports.webhooks import Sender, Sent

__all__ = [
    "LLM",
    "Analyse",
    "Answer",
    "BoundLLM",
    "Cache",
    "Changes",
    "Claim",
    "Collections",
    "Delta",
    "Directory",
    "EditMemory",
    "Embedder",
    "EntityState",
    "Epoch",
    "Excerpt",
    "FillSpace",
    "Filling",
    "FinishJob",
    "Found",
    "Hit",
    "Hold",
    "HoldBudget",
    "Index",
    "IndexSource",
    "Jobs",
    "Listing",
    "Match",
    "Op",
    "Optimizes",
    "Point",
    "Prices",
    "Probe",
    "PutAudit",
    "PutJob",
    "PutMemory",
    "PutRows",
    "PutSpared",
    "PutTurns",
    "PutUsage",
    "QueryEmbedding",
    "Ranking",
    "Records",
    "RemoveMemories",
    "Reranker",
    "Reset",
    "Sender",
    "Sent",
    "SetVectors",
    "SettleBudget",
    "SpaceSwitched",
    "Spaces",
    "Spent",
    "Standing",
    "StoredSpace",
    "TakeRow",
    "TermMatches",
    "Toll",
    "Unfilled",
    "UsageGroup",
    "UsageQuery",
    "UsageSum",
    "Vectors",
    "View",
    "build_number",
    "held_number",
    "held_numbers",
    "space_number",
]
