"""A fleet in trouble for as long as you like: `python -m tests.fleet.soak --minutes 60`; see
`soaking`."""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from tests.fleet.soaking import main

    sys.exit(main())
