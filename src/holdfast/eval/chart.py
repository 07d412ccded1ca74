"""A bar chart of recall by category, as PNG or SVG. Needs the extra `plot`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from holdfast.errors import MissingExtraError, ValidationError
from holdfast.eval.metrics import RECALL_DEPTHS
from holdfast.model import Json

SUFFIXES = (".png", ".svg")


def check(path: Path) -> None:
    """Says before the work starts whether a chart can be drawn.

    Raises:
        ValidationError: the file's ending is none of SUFFIXES, or its folder does not exist.
        MissingExtraError: matplotlib is not installed.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ValidationError(
            f"a chart is {' or '.join(SUFFIXES)}, not {path.suffix or path.name!r}."
        )
    if not path.absolute().parent.is_dir():
        raise ValidationError(f"there is no folder {path.absolute().parent}.")
    try:
        import matplotlib  # noqa: F401
    except ImportError as fault:
        raise MissingExtraError(
            "a chart needs matplotlib.", hint="pip install 'holdfast[plot]'"
        ) from fault


def draw(report: Mapping[str, Json], path: Path, *, title: str) -> None:
    """Draws recall@k of each category and overall.

    Args:
        report: as `eval.report.summarise` makes it.
        path: PNG or SVG by its ending; `check` accepts it.
        title: the heading.
    """
    from matplotlib.figure import Figure

    groups = {**report["categories"], "overall": report["overall"]}
    groups = {name: found for name, found in groups.items() if found["questions"]}
    figure = Figure(figsize=(max(6.0, 1.3 * len(groups) + 2), 4.2), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(RECALL_DEPTHS)
    shades = ["#9ecae1", "#6baed6", "#3182bd", "#08519c"]
    for place, (k, shade) in enumerate(zip(RECALL_DEPTHS, shades, strict=True)):
        heights = [found[f"recall@{k}"] for found in groups.values()]
        lefts = [
            group + (place - (len(RECALL_DEPTHS) - 1) / 2) * width for group in range(len(groups))
        ]
        bars = axes.bar(lefts, heights, width, label=f"recall@{k}", color=shade)
        if k == 10:
            axes.bar_label(bars, fmt="%.2f", fontsize=7, padding=2)
    labels = [
        f"{name.replace('_', ' ')}\n({found['questions']:,})" for name, found in groups.items()
    ]
    tilt = 30 if len(groups) > 6 else 0
    axes.set_xticks(range(len(groups)), labels, rotation=tilt, ha="right" if tilt else "center")
    axes.set_ylim(0, 1.08)
    axes.set_ylabel("share of evidence found")
    axes.set_title(title)
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    figure.legend(ncols=len(RECALL_DEPTHS), fontsize=8, loc="outside lower center")
    figure.savefig(path, dpi=144)
