"""Holdfast's server with its defaults: `python -m serverside.holdfast_app PORT [LLM_URL]`.

The store is where HOLDFAST_HOME says. Limits on rates are off: one key asks for everybody here.
"""

from __future__ import annotations

import sys
from typing import Any

from holdfast.config import load_config
from holdfast.server.run import serve

KEY = "the-admin-key-of-the-benchmark"
_UNLIMITED = {f"key_limit_{load}": "" for load in ("search", "read", "add", "write", "admin")}


def main() -> None:
    """Serves until told to stop."""
    port, *llm = sys.argv[1:]
    settings: dict[str, Any] = {"server": {"port": int(port), "admin_key": KEY, **_UNLIMITED}}
    if llm:
        options = {"model": "scripted", "api_key": "unused", "openai_base_url": llm[0]}
        settings["llm"] = {"provider": "openai", "config": options}
    serve(load_config(settings).config)


if __name__ == "__main__":
    main()
