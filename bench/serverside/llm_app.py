"""A language model that is slow or broken: `python -m serverside.llm_app SECONDS ERROR_SHARE`.

Prints its URL and serves until standard input ends. It answers as OpenAI's API does, with one fact
for the turn it was given; every n-th answer is an error of the kind that is tried again.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Mapping
from typing import Any

from support.llm_server import LLMServer, Reply, chat, failure


def main() -> None:
    """Serves until standard input ends."""
    delay_s, share = float(sys.argv[1]), float(sys.argv[2])
    turn = itertools.count(1)

    def make(body: Mapping[str, Any]) -> Reply:
        number = next(turn)
        if share and int(number * share) > int((number - 1) * share):
            return failure(500, "the model broke")
        return chat(json.dumps({"facts": []}))

    with LLMServer() as server:
        server.say(Reply(make=make, delay_s=delay_s))
        print(server.url, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
