"""A process that changes the embedder of a store to and fro until it is killed."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from unittest.mock import patch

import numpy as np

from holdfast.admin import AsyncAdmin
from holdfast.config import Part
from holdfast.engine import reembedding
from holdfast.errors import ConflictError
from holdfast.ports import Spent
from support.embedded import HashEmbedder


class Slow(HashEmbedder):
    """Gives a kill time to come."""

    async def embed(self, texts: Sequence[str], spent: Spent | None = None) -> np.ndarray:
        await asyncio.sleep(0.001)
        return await super().embed(texts, spent)


def made(part: Part) -> Slow:
    """The embedders of both spaces, of different lengths."""
    return Slow(part.provider, 16 if part.provider == "old" else 24)


def config(folder: str) -> dict[str, object]:
    """Both embedders on the store in a folder."""
    parts = {"embedder": {"provider": "new"}, "embedder_before": {"provider": "old"}}
    return {"path": folder, **parts}


async def to_and_fro(folder: str) -> None:
    """Change, cut over, finish, roll back, finish, without end."""
    async with AsyncAdmin(config(folder)) as admin:
        embedder, steps = admin.embedder, 0
        sys.stdout.write("begun\n")
        sys.stdout.flush()
        while True:
            for step in (embedder.change, embedder.cutover, embedder.finish):
                try:
                    await step()
                except ConflictError as error:  # a kill came after the cut-over
                    if "already" not in error.message:
                        raise
            await admin.memory().add(f"thing {steps}", user_id="ann", infer=False)
            await embedder.rollback()
            await embedder.finish()
            steps += 1


if __name__ == "__main__":
    with (
        patch("holdfast.assemble.make_embedder", made),
        patch.object(reembedding, "EMBED_BATCH_MAX", 3),
        patch.object(reembedding, "_EMPTY_MAX", 3),
        patch.object(reembedding, "INDEX_LEASE_S", 0.2),
    ):
        asyncio.run(to_and_fro(sys.argv[1]))
