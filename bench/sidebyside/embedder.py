"""The embedding model that every contender uses: wordllama, 256 dimensions, from its wheel."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

DIMENSIONS = 256


def load_wordllama() -> Any:
    """The model, read from the wheel's own folder so that nothing is ever downloaded.

    `embed(list of n texts, norm=True)` gives an (n, 256) float32 array of unit vectors. The package
    is imported here and not at the top: this module is loaded where import time is measured.
    """
    wordllama = importlib.import_module("wordllama")
    folder = Path(str(wordllama.__file__)).parent
    return wordllama.WordLlama.load(dim=DIMENSIONS, cache_dir=folder, disable_download=True)
