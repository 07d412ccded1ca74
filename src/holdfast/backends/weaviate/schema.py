"""The class that Weaviate makes for a collection."""

from __future__ import annotations

from typing import Any

from holdfast.backends.weaviate.objects import KINDS, MARK, MEMORY, TERMS, described
from holdfast.core.view import BM25_B, BM25_K1
from holdfast.model import ENTITY_KINDS


def class_form(vector_index: str, replicas: int, dimensions: int) -> dict[str, Any]:
    """What `collections.create` is told of a class of ours, beside its name."""
    from weaviate.classes.config import (
        Configure,
        DataType,
        Property,
        StopwordsPreset,
        Tokenization,
        VectorDistances,
    )

    kind = getattr(Configure.VectorIndex, vector_index)
    hidden: dict[str, Any] = {"index_filterable": False, "index_searchable": False}
    filtered: dict[str, Any] = {"index_filterable": True, "index_searchable": False}
    field: dict[str, Any] = {"tokenization": Tokenization.FIELD, "data_type": DataType.TEXT}
    return {
        "description": described(dimensions),
        "multi_tenancy_config": Configure.multi_tenancy(
            auto_tenant_creation=True, auto_tenant_activation=True
        ),
        "inverted_index_config": Configure.inverted_index(
            bm25_b=BM25_B, bm25_k1=BM25_K1, stopwords_preset=StopwordsPreset.NONE
        ),
        "replication_config": Configure.replication(factor=replicas),
        "vector_config": Configure.Vectors.self_provided(
            vector_index_config=kind(distance_metric=VectorDistances.COSINE)
        ),
        "properties": [
            Property(name=MEMORY, **field, **hidden),
            Property(name=MARK, **field, **hidden),
            *(Property(name=kind_, **field, **filtered) for kind_ in ENTITY_KINDS),
            Property(
                name=KINDS,
                data_type=DataType.TEXT_ARRAY,
                tokenization=Tokenization.FIELD,
                **filtered,
            ),
            Property(
                name=TERMS,
                data_type=DataType.TEXT,
                tokenization=Tokenization.WHITESPACE,
                index_filterable=False,
                index_searchable=True,
            ),
        ],
    }
