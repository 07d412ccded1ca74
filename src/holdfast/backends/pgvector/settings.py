"""What the index `pgvector` can be told."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from msgspec import Meta

from holdfast.model import Struct

EF_SEARCH_MAX: Final = 1_000
"""Of pgvector."""

_Seconds = Annotated[float, Meta(gt=0, le=3_600)]


class PgVectorSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `index.config` takes for `pgvector`."""

    url: str
    """postgresql://user:password@host:5432/database, with whatever libpq knows (sslmode, ...)."""
    schema: str = "holdfast_index"
    """Of the tables; made if it is not there."""
    mode: Literal["auto", "exact", "hnsw"] = "auto"
    """exact compares with every point of an entity; hnsw follows a graph; auto chooses by size."""
    hnsw_rows_min: Annotated[int, Meta(ge=1, le=1_000_000)] = 5_000
    """Points of an entity from which on `auto` follows the graph."""
    precision: Literal["full", "half"] = "full"
    """float32, or float16 in half the room."""
    m: Annotated[int, Meta(ge=2, le=100)] = 16
    """Links of a point in the graph."""
    ef_construction: Annotated[int, Meta(ge=4, le=1_000)] = 64
    """Points looked at when one is linked: at least twice `m`."""
    ef_search: Annotated[int, Meta(ge=1, le=EF_SEARCH_MAX)] = 100
    """Points looked at in a step of a search."""
    max_scan_tuples: Annotated[int, Meta(ge=1, le=2**31 - 1)] = 20_000
    """Points a search through the graph looks at before the entity's are compared one by one."""
    pool_max: Annotated[int, Meta(ge=1, le=1_000)] = 10
    """Connections of one process."""
    pool_waiting_max: Annotated[int, Meta(ge=1, le=100_000)] = 1_000
    """Calls that wait for a connection; more are refused."""
    pool_timeout_s: _Seconds = 2.0
    """Longest wait for a connection."""
    statement_timeout_s: _Seconds = 10.0
    """Time of one statement."""
    connect_timeout_s: _Seconds = 5.0
    """Time for a new connection."""
    connection_age_max_s: Annotated[float, Meta(ge=1)] = 3_600.0
    """Age at which a connection is replaced."""

    def __repr__(self) -> str:
        return f"PgVectorSettings(url=***, schema={self.schema!r}, mode={self.mode!r})"
