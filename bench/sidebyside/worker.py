"""One contender in a process of its own: reads commands as JSON lines, answers each with one line.

`python -m sidebyside.worker NAME HOME TURNS` with this package's folder on the path. Turn `i` of
the file TURNS belongs to the `i // per_user`-th user. Answers go to the descriptor that stdout had
at the start; whatever a library prints goes to stderr and cannot be taken for an answer.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sidebyside import process_memory
from sidebyside.contender import Contender, Turn, create
from sidebyside.data import read_turns

Answer = dict[str, Any]


def user_of(turn: int, per_user: int) -> str:
    """The id of the user that a turn belongs to; users of different sizes never share an id."""
    return f"user-{per_user}-{turn // per_user}"


class Worker:
    """Carries out commands; the method's name is the command's name."""

    def __init__(self, contender: Contender, turns_file: Path) -> None:
        self._contender = contender
        self._turns_file = turns_file

    def commands(self) -> dict[str, Callable[..., Answer]]:
        """Every command there is."""
        return {
            "open": self.open,
            "reopen": self.reopen,
            "add_each": self.add_each,
            "add_many": self.add_many,
            "add_concurrently": self.add_concurrently,
            "load": self.load,
            "search": self.search,
            "search_on_loop": self.search_on_loop,
            "delete_each": self.delete_each,
            "delete_all": self.delete_all,
            "memory": self.memory,
            "close": self.close,
        }

    def _turns(self, start: int, count: int, per_user: int) -> list[Turn]:
        texts = read_turns(self._turns_file, start, count)
        return [(user_of(start + i, per_user), text) for i, text in enumerate(texts)]

    def _by_user(self, start: int, count: int, per_user: int) -> Iterator[tuple[str, list[str]]]:
        turns = self._turns(start, count, per_user)
        for user, group in itertools.groupby(turns, key=lambda turn: turn[0]):
            yield user, [text for _, text in group]

    def open(self) -> Answer:
        """Opens the store: seconds taken."""
        return {"seconds": _seconds(self._contender.open)}

    def reopen(self) -> Answer:
        """Closes the store and opens it again, so that nothing of it is warm in the process."""
        self._contender.close()
        return self.open()

    def close(self) -> Answer:
        """Closes the store."""
        self._contender.close()
        return {}

    def add_each(self, start: int, count: int, per_user: int) -> Answer:
        """Adds turns one by one: nanoseconds of each."""
        add = self._contender.add
        turns = self._turns(start, count, per_user)
        return {"ns": [_nanoseconds(add, user, text) for user, text in turns]}

    def add_many(self, start: int, count: int, per_user: int) -> Answer:
        """Adds turns with one call for each user: nanoseconds of each call."""
        add_many = self._contender.add_many
        groups = list(self._by_user(start, count, per_user))
        return {"ns": [_nanoseconds(add_many, user, texts) for user, texts in groups]}

    def add_concurrently(self, start: int, count: int, per_user: int, writers: int) -> Answer:
        """Opens the asynchronous store, adds turns from many tasks, closes it: seconds, errors."""
        turns = self._turns(start, count, per_user)
        written = asyncio.run(self._contender.add_concurrently(turns, writers))
        return {"seconds": written.seconds, "errors": written.errors}

    def load(self, start: int, count: int, per_user: int) -> Answer:
        """Fills the store the fastest way there is: seconds taken."""
        begin = time.perf_counter()
        for user, texts in self._by_user(start, count, per_user):
            self._contender.load(user, texts)
        return {"seconds": time.perf_counter() - begin}

    def search(self, queries: list[tuple[int, str]], per_user: int) -> Answer:
        """Asks each question of the user whose turn it was made from.

        Gives the nanoseconds of each, and for how many the turn itself was among the results: proof
        that the store was searched and not just asked.
        """
        sources = {turn: "" for turn, _ in queries}
        self._fill_texts(sources)
        ns, found = [], 0
        for turn, query in queries:
            user = user_of(turn, per_user)
            begin = time.perf_counter_ns()
            answer = self._contender.search(user, query)
            ns.append(time.perf_counter_ns() - begin)
            found += sources[turn] in self._contender.texts(answer)
        return {"ns": ns, "found": found}

    def search_on_loop(self, queries: list[tuple[int, str]], per_user: int) -> Answer:
        """The same through the asynchronous face, for a contender that has one."""
        asked = [(user_of(turn, per_user), query) for turn, query in queries]
        contender: Any = self._contender
        return {"ns": contender.searches_on_loop(asked)}

    def _fill_texts(self, sources: dict[int, str]) -> None:
        with self._turns_file.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines):
                if number in sources:
                    sources[number] = line.rstrip("\n")

    def delete_each(self, user: str, count: int) -> Answer:
        """Deletes up to `count` memories of the user one by one: nanoseconds of each."""
        ids = self._contender.ids(user, count)
        return {"ns": [_nanoseconds(self._contender.delete, memory_id) for memory_id in ids]}

    def delete_all(self, user: str) -> Answer:
        """Deletes all of the user: seconds taken, and how many memories are left (0, if right)."""
        seconds = _seconds(lambda: self._contender.delete_all(user))
        return {"seconds": seconds, "left": len(self._contender.ids(user, 1))}

    def memory(self) -> Answer:
        """Bytes resident now and at most."""
        return {"rss": process_memory.resident_bytes(), "peak": process_memory.peak_bytes()}


def _seconds(work: Callable[[], None]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def _nanoseconds(work: Callable[..., None], *arguments: Any) -> int:
    begin = time.perf_counter_ns()
    work(*arguments)
    return time.perf_counter_ns() - begin


def main() -> None:
    """Serves commands until standard input ends; the first error ends the process."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    # wordllama sets the root logger to INFO when imported, unless logging is set up already.
    logging.basicConfig(level=logging.WARNING)
    name, home, turns_file = sys.argv[1:]
    commands = Worker(create(name, Path(home)), Path(turns_file)).commands()
    for line in sys.stdin:
        command, arguments = json.loads(line)
        print(json.dumps(commands[command](**arguments)), file=answers, flush=True)


if __name__ == "__main__":
    main()
