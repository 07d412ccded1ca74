"""What a memory takes on the disk, by count: bytes in the file, and pages that an add writes."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from holdfast import Memory

MEMORIES: Final = 300
BYTES_MAX: Final = 3_600
"""Of a memory with its vector of a kilobyte, three copies of a short text and fourteen indexes."""
PAGE: Final = 4_096
FRAME: Final = PAGE + 24
PAGES_MAX: Final = 25


def test_a_memory_takes_little_more_than_its_vector_and_its_indexes(tmp_path: Path) -> None:
    with _opened(tmp_path) as memory:
        _add(memory, MEMORIES)
    assert (tmp_path / "holdfast.db").stat().st_size / MEMORIES < BYTES_MAX


def test_an_add_writes_few_pages(tmp_path: Path) -> None:
    adds = 30  # fewer than fill the log up to its checkpoint
    with _opened(tmp_path) as memory:
        _add(memory, 10 * adds)
    with _opened(tmp_path) as memory:
        memory.add("The log is begun.", user_id="ann", infer=False)
        log = tmp_path / "holdfast.db-wal"
        before = log.stat().st_size
        for number in range(adds):
            memory.add(f"I had tea number {number}.", user_id="ann", infer=False)
        written = (log.stat().st_size - before) / FRAME
    assert 0 < written / adds < PAGES_MAX


def _opened(path: Path) -> Memory:
    return Memory({"path": str(path)})


def _add(memory: Memory, count: int) -> None:
    said = [{"role": "user", "content": f"I drink tea number {n} at noon."} for n in range(count)]
    memory.add(said, user_id="ann", infer=False)
