"""What the routes of Mem0's open-source server answer, as the document describes it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

Time = Annotated[str, Field(examples=["2026-01-02T03:04:05+00:00"])]
Kind = Literal["user", "agent", "app", "run"]


class OssMemory(BaseModel):
    """A memory; identities and validity only where they are set."""

    id: Annotated[str, Field(examples=["0190f5fe-7c1e-7b5a-9d53-6d7f0a4f1c11"])]
    memory: Annotated[str, Field(examples=["I am allergic to nuts."])]
    hash: Annotated[str, Field(description="MD5 of the text.")]
    metadata: dict[str, Any] | None
    created_at: Time
    updated_at: Time
    event_at: Annotated[str | None, Field(description="When it was said or happened.")] = None
    kind: Literal["fact", "turn", "summary"] | None = None
    user_id: Annotated[str | None, Field(examples=["alice"])] = None
    agent_id: str | None = None
    app_id: str | None = None
    run_id: str | None = None
    actor_id: Annotated[str | None, Field(description="`name` of the message.")] = None
    role: Annotated[str | None, Field(examples=["user"])] = None
    categories: list[str] | None = None
    expiration_date: Annotated[str | None, Field(examples=["2030-12-31"])] = None
    valid_from: Annotated[str | None, Field(description="From when on it is true.")] = None
    valid_to: Annotated[str | None, Field(description="From when on it is not any more.")] = None
    superseded_by: Annotated[str | None, Field(description="The memory that ended it.")] = None
    immutable: bool | None = None
    score: Annotated[float | None, Field(ge=0, le=1)] = None


class ScoreDetails(BaseModel):
    """What a score is made of."""

    semantic_score: float
    bm25_score: float
    entity_boost: float
    raw_score: float
    max_possible_score: float
    final_score: float
    threshold: float
    parts: Annotated[dict[str, float], Field(description="The share of each signal.")]


class OssHit(OssMemory):
    """A memory that was found."""

    rerank_score: Annotated[float | None, Field(description="If it was scored anew.")] = None
    score_details: Annotated[ScoreDetails | None, Field(description="With `explain`.")] = None


class OssMemories(BaseModel):
    """Memories, the newest first."""

    results: list[OssMemory]


class OssHits(BaseModel):
    """Memories, the best first, each with its `score`."""

    results: list[OssHit]
    degraded: Annotated[
        list[str] | None, Field(description="Parts that were away: embedder, reranker, index.")
    ] = None


class OssEvent(BaseModel):
    """What became of a message, or a fact that was found in it."""

    id: str
    memory: Annotated[str | None, Field(examples=["I am allergic to nuts."])] = None
    event: Annotated[str, Field(examples=["ADD"])]
    role: str | None = None
    actor_id: str | None = None


class OssAdded(BaseModel):
    """What became of an add; `status` and `event_id` only if a model has a part in it."""

    results: list[OssEvent]
    status: Literal["PENDING", "RUNNING", "SUCCEEDED", "FAILED"] | None = None
    event_id: str | None = None


class OssChange(BaseModel):
    """One change of a memory, and whose it is."""

    user_id: str | None = None
    agent_id: str | None = None
    app_id: str | None = None
    run_id: str | None = None

    id: str
    memory_id: str
    old_memory: str | None
    new_memory: str | None
    event: Literal["ADD", "UPDATE", "DELETE"]
    created_at: str | None
    updated_at: str | None
    is_deleted: bool
    actor_id: str | None = None
    role: str | None = None


class OssEntity(BaseModel):
    """Somebody or something that has memories."""

    id: Annotated[str, Field(examples=["alice"])]
    type: Kind
    total_memories: Annotated[int, Field(ge=0)]
    created_at: str | None
    updated_at: str | None


class Setup(BaseModel):
    """Whether there is an account."""

    needsSetup: bool  # noqa: N815 - Mem0's name


class TokenPair(BaseModel):
    """Tokens of a session."""

    access_token: Annotated[str, Field(description="Send it as `Authorization: Bearer ...`.")]
    refresh_token: Annotated[str, Field(description="Good for one `/auth/refresh`.")]
    token_type: Literal["bearer"]
    expires_in: Annotated[int, Field(description="Seconds for which the access token is good.")]


class Person(BaseModel):
    """An account."""

    id: str
    name: Annotated[str, Field(examples=["Ann"])]
    email: Annotated[str, Field(examples=["ann@example.com"])]
    role: Literal["admin", "user"]
    onboarded: bool
    created_at: Time


class OwnKeyMade(BaseModel):
    """A key that was just made."""

    id: Annotated[str, Field(examples=["397d35205038"])]
    label: Annotated[str, Field(examples=["laptop"])]
    key_prefix: Annotated[str, Field(examples=["hf-397d35205038"])]
    created_at: Time
    key: Annotated[str, Field(description="The whole key; it is told this once.")]


class OwnKey(BaseModel):
    """A key of one's own."""

    id: Annotated[str, Field(examples=["397d35205038"])]
    label: Annotated[str, Field(examples=["laptop"])]
    key_prefix: Annotated[str, Field(examples=["hf-397d35205038"])]
    created_at: Time
    last_used_at: str | None


class ModelPart(BaseModel):
    """A model as it is configured, secrets hidden."""

    provider: Annotated[str, Field(examples=["openai"])]
    config: dict[str, Any]


class Configuration(BaseModel):
    """The settings in force."""

    version: str
    llm: ModelPart | None
    embedder: ModelPart
    reranker: ModelPart | None
    custom_instructions: str | None
    agent_custom_instructions: str | None
    custom_categories: list[Any] | None
    multilingual: bool | None
    decay: bool | None


class Providers(BaseModel):
    """What a configuration may name."""

    llm: Annotated[list[str], Field(examples=[["openai", "anthropic"]])]
    embedder: Annotated[list[str], Field(examples=[["wordllama", "openai"]])]


class Instructions(BaseModel):
    """What a model suggests."""

    custom_instructions: str
    test_message: Annotated[str, Field(description="Something to try them with.")]


class AnsweredRequest(BaseModel):
    """A request that was answered; never what was said in it."""

    id: str
    method: Annotated[str, Field(examples=["POST"])]
    path: Annotated[str, Field(description="Of the route.", examples=["/memories/{memory_id}"])]
    status_code: int
    latency_ms: float
    auth_type: str
    created_at: Time
    request_id: str
    principal: Annotated[str, Field(description="The public half of the credential.")]
    project: str
