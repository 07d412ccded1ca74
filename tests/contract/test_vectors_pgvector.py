"""The index in pgvector keeps every sentence of `ports.Vectors`, on a real Postgres."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from typing import ClassVar

import psycopg
import pytest

from holdfast.backends.pgvector.vectors import build
from holdfast.config import Part
from holdfast.ports import Vectors
from holdfast.testing.contracts.vectors import MakeVectors, VectorsContract
from support import postgres

URL = "HOLDFAST_TEST_PGVECTOR_URL"
"""An address of a database with pgvector, to run the contract against that one as well."""


def collection(url: str, **settings: object) -> Iterator[MakeVectors]:
    """Makes handles on collections in a schema of their own, which goes afterwards."""
    schema = f"holdfast_test_{uuid.uuid4().hex[:12]}"
    part = Part(provider="pgvector", config={"url": url, "schema": schema, **settings})

    def make(name: str = "memories") -> Vectors:
        return build(part, name)

    yield make
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """A new database, of a user who is no superuser: row-level security is for it."""
    with postgres.database(18, empty=True) as url:
        name = psycopg.conninfo.conninfo_to_dict(url)["dbname"]
        postgres.shared(18).ask("CREATE EXTENSION vector", str(name))
        yield url


class OnServer(VectorsContract):
    """On a server of the tests' own."""

    SETTINGS: ClassVar[dict[str, object]] = {}

    @pytest.fixture
    def make(self, database: str) -> Iterator[MakeVectors]:
        yield from collection(database, **self.SETTINGS)


class TestChoosing(OnServer):
    """As it is without settings."""


class TestByTheGraph(OnServer):
    """Usually what is kept of vectors, and found by them: words are the same rows in every mode."""

    SETTINGS: ClassVar = {"mode": "hnsw", "precision": "half"}
    USUALLY: ClassVar = (
        "test_a_point_is_found_by_its_vector_and_by_its_words",
        "test_the_nearest_come_first_with_their_cosine",
        "test_a_point_is_replaced_by_one_with_its_id",
        "test_what_is_removed_is_gone_and_the_unknown_is_passed_over",
        "test_a_point_belongs_to_each_of_its_entities",
        "test_a_star_means_all_that_have_one_of_the_kind",
        "test_projects_find_nothing_of_each_other",
        "test_points_without_a_vector_are_found_by_their_words",
        "test_all_come_if_there_are_no_more_than_the_limit",
        "test_a_dropped_collection_is_made_anew_by_open",
        "test_vectors_of_another_length_are_refused",
        "test_numbers_that_are_none_are_refused",
        "test_many_points_go_in_one_call",
    )


@pytest.mark.skipif(URL not in os.environ, reason=f"{URL} is not set")
class TestElsewhere(VectorsContract):
    """On the server that the environment names."""

    @pytest.fixture
    def make(self) -> Iterator[MakeVectors]:
        yield from collection(os.environ[URL])
