"""Lets the benchmark's own tests find its package: `python -m pytest bench`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
