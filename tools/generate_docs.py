"""Write the generated parts of the documents: errors, limits, commands.

A generated part stands in its page between `<!-- generated: NAME -->` and `<!-- end: NAME -->`; the
words around it are written by hand. `--check` compares instead of writing.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import click

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PACKAGE = ROOT / "src" / "holdfast"


def table(heading: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    lines = [_row(heading := list(heading)), _row(["---"] * len(heading)), *map(_row, rows)]
    if len(lines) == 2:
        raise SystemExit(f"generate_docs: no rows for the table {heading}")
    return "\n".join(lines)


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"


def errors() -> str:
    """Every class of error: its code, whether trying again can help, and what it means."""
    from holdfast import errors as module
    from holdfast.errors import HoldfastError

    classes = [value for value in vars(module).values()
               if isinstance(value, type) and issubclass(value, HoldfastError)]  # fmt: skip
    rows = []
    for value in dict.fromkeys(classes):
        parent = "" if value is HoldfastError else f"`{value.__bases__[0].__name__}`"
        meaning = (value.__doc__ or "").split("\n\n")[0]
        retry = "yes" if value.retryable else ""
        rows.append([f"`{value.__name__}`", f"`{value.code}`", parent, retry, meaning])
    return table(["class", "code", "is a", "retry helps", "meaning"], rows)


def documented(path: Path, owner: str | None = None) -> list[tuple[str, str, str, str]]:
    """Annotated or plain assignments of a module or class, with the docstring below each.

    Returns (name, annotation, value, docstring); one without a docstring is a fault.
    """
    body: list[ast.stmt] = ast.parse(path.read_text(encoding="utf-8")).body
    if owner is not None:
        body = next(n.body for n in body if isinstance(n, ast.ClassDef) and n.name == owner)
    found = []
    for index, node in enumerate(body):
        if not isinstance(node, ast.Assign | ast.AnnAssign):
            continue
        target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
        name = ast.unparse(target)
        if name.startswith("_"):
            continue
        annotation = ast.unparse(node.annotation) if isinstance(node, ast.AnnAssign) else ""
        value = ast.unparse(node.value) if node.value else ""
        found.append((name, annotation, value, _docstring(body[index + 1 :], f"{path}: {name}")))
    return found


def _docstring(following: list[ast.stmt], what: str) -> str:
    node = following[0] if following else None
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        text = node.value.value
        if isinstance(text, str):
            return text
    raise SystemExit(f"generate_docs: {what} has no docstring")


def limits() -> str:
    """Every bound of `holdfast.limits`."""
    from holdfast import limits as module

    rows = [
        [f"`{name}`", f"{getattr(module, name):,}", text]
        for name, _, _, text in documented(PACKAGE / "limits.py")
    ]
    return table(["limit", "value", "of what"], rows)


def commands() -> str:
    """Every command of the command line with its options."""
    import typer.main

    from holdfast.cli.main import app

    group = typer.main.get_command(app)
    listed: dict[str, click.Command] = getattr(group, "commands", {})
    if not listed:
        raise SystemExit("generate_docs: the command line has no commands")
    return "\n\n".join(_command(name, command) for name, command in _flat(listed, ""))


def _flat(listed: dict[str, click.Command], before: str) -> Iterator[tuple[str, click.Command]]:
    """The commands by their whole names, those of groups too."""
    for name, command in listed.items():
        inner: dict[str, click.Command] | None = getattr(command, "commands", None)
        if inner is None:
            yield before + name, command
        else:
            yield from _flat(inner, f"{before}{name} ")


def _command(name: str, command: click.Command) -> str:
    usage = [f"holdfast {name}"]
    rows = []
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            word = (parameter.metavar or parameter.name or "").strip("[]").upper()
            usage.append(word if parameter.required else f"[{word}]")
        else:
            rows.append([", ".join(f"`{flag}`" for flag in _flags(parameter)), _help(parameter)])
    told = " ".join((command.help or "").split("\f")[0].split())
    return f"### `{' '.join(usage)}`\n\n{told}\n\n{table(['option', 'what it does'], rows)}"


def _flags(parameter: click.Parameter) -> list[str]:
    metavar = f" {parameter.metavar}" if parameter.metavar else ""
    return [f"{flag}{metavar}" for flag in [*parameter.opts, *parameter.secondary_opts]]


def _help(parameter: click.Parameter) -> str:
    text: str = getattr(parameter, "help", None) or ""
    return text


PARTS: dict[str, tuple[str, Callable[[], str]]] = {
    "errors": ("errors.md", errors),
    "limits": ("limits.md", limits),
    "commands": ("cli.md", commands),
}
"""Name of each part: the page it stands in, and the function that writes it."""


def renewed(page: str, name: str, text: str) -> str:
    """The page with this part replaced. A page without its marks is a fault."""
    begin, end = f"<!-- generated: {name} -->", f"<!-- end: {name} -->"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    result, count = pattern.subn(lambda _: f"{begin}\n{text}\n{end}", page)
    if count != 1:
        raise SystemExit(f"generate_docs: {count} places for the part {name!r}, expected one")
    return result


def main() -> None:
    """Renew every part, or fail if one on disk differs."""
    stale = []
    for name, (file, render) in PARTS.items():
        path = DOCS / file
        page = path.read_text(encoding="utf-8")
        wanted = renewed(page, name, render())
        if wanted == page:
            continue
        stale.append(file)
        if "--check" not in sys.argv[1:]:
            path.write_text(wanted, encoding="utf-8")
    if stale and "--check" in sys.argv[1:]:
        raise SystemExit(f"docs out of date: {', '.join(stale)}; run `make generate`")


if __name__ == "__main__":
    main()
