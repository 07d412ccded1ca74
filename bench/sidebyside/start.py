"""Time to the first answer in a fresh process: `python -m sidebyside.start NAME HOME`.

Imports nothing of its own at the top but what the interpreter has loaded anyway, so that the
contender's import pays for all that it needs. Prints four numbers, seconds: import, construction of
the first memory, the first add, the first search.
"""

import itertools
import sys
import time

TEXT = "I moved to Lisbon with my dog in March."
QUERY = "When did I move to Lisbon with my dog?"


def main() -> None:
    """Measures the contender named on the command line."""
    name, home = sys.argv[1:]
    times = [time.perf_counter()]
    if name == "mem0":
        import mem0  # type: ignore[import-not-found]  # lives in its own environment only

        times.append(time.perf_counter())
        from pathlib import Path

        from sidebyside import contender_mem0

        contender_mem0.register_embedder()
        memory = mem0.Memory.from_config(contender_mem0.configuration(Path(home)))
    else:
        import holdfast

        times.append(time.perf_counter())
        memory = holdfast.Memory()
    times.append(time.perf_counter())
    memory.add(TEXT, user_id="first", infer=False)
    times.append(time.perf_counter())
    results = memory.search(QUERY, filters={"user_id": "first"})["results"]
    times.append(time.perf_counter())
    if [result["memory"] for result in results] != [TEXT]:
        raise SystemExit(f"{name} did not find the memory that was just added: {results}")
    print(*(after - before for before, after in itertools.pairwise(times)))


if __name__ == "__main__":
    main()
