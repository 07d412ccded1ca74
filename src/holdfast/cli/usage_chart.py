"""A bar chart of costs, as PNG or SVG. Needs the extra `plot`; `eval.chart.check` says so."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from holdfast.cli.output import printable

_LABEL_CHARS = 32


def draw(report: Mapping[str, Any], path: Path) -> None:
    """Draws the cost of each row of a report, in its order; PNG or SVG by the ending of `path`."""
    from matplotlib.figure import Figure

    rows = report["results"]
    labels = [" ".join(printable(one[name] or "-") for name in report["by"]) for one in rows]
    labels = [label[:_LABEL_CHARS].replace("$", r"\$") for label in labels]
    figure = Figure(figsize=(8.0, max(2.4, 0.34 * len(rows) + 1.2)), layout="constrained")
    axes = figure.subplots()
    places = range(len(rows))
    costs = [one["cost_usd"] for one in rows]
    bars = axes.barh(places, costs, color="#3182bd", label="cost")
    saved = [one["saved_usd"] + one["spared_usd"] for one in rows]
    if any(saved):
        axes.barh(places, saved, left=costs, color="#c6dbef", label="saved by caches")
        axes.legend(loc="lower right")
    axes.bar_label(bars, fmt="%.4f", fontsize=8, padding=3)
    axes.set_yticks(places, labels)
    axes.invert_yaxis()
    axes.set_xlabel("US dollars")
    axes.set_title(f"Model calls, {report['since'][:10]} to {report['before'][:10]}")
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    with warnings.catch_warnings():  # a letter its font has not is a box, and no reason to warn
        warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)
        figure.savefig(path, dpi=144)
