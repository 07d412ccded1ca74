"""Reading the project's own files for the tidy tests: each check takes text and returns faults."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "holdfast"
FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 60

_TEXT = {".py", ".md", ".toml", ".yml", ".yaml", ".sh", ".sql", ".txt", ".cfg", ".lock", ""}
_FORBIDDEN_MODULES = {"pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}
_FORBIDDEN_CALLS = {"eval", "exec", "os.system", "yaml.load", "yaml.unsafe_load", "yaml.full_load"}
_UNFINISHED = re.compile(
    r"\b(TODO|FIXME|XXX|raise NotImplementedError)\b|(?i:\bplaceholder\b(?!=)|(?<=\S )for now\b)"
)
# Paths of somebody's machine and hosts of package registries. The brackets keep this file, which
# is searched too, from finding itself.
_PRIVATE = re.compile(
    r"(?<![\w.])/(?:[w]ork|[r]oot|[h]ome/(?!somebody)\w+|[U]sers/\w+|[o]pt/py\w*|[o]pt/wheels)/"
    r"|[p]ypi\.org|[p]ythonhosted|[n]pmjs|[i]ndex-url|[f]ind-links"
)


@cache
def tracked() -> tuple[Path, ...]:
    """Every file of the project that is, or may be, committed."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    return tuple(
        path
        for name in sorted(set(filter(None, names.split("\0"))))
        if (path := ROOT / name).is_file()
    )


def python_files(*folders: str) -> list[Path]:
    """The project's Python files under these folders; a folder without any is a fault."""
    found = [p for p in tracked() if p.suffix == ".py" and p.relative_to(ROOT).parts[0] in folders]
    missing = set(folders) - {p.relative_to(ROOT).parts[0] for p in found}
    assert not missing, f"no Python files in {sorted(missing)}"
    return found


def text_files() -> list[Path]:
    """The project's files that people read: code and documents, without data."""
    return [path for path in tracked() if path.suffix in _TEXT and path.name != "LICENSE"]


def name(path: Path) -> str:
    """The path as seen from the project's root."""
    return path.relative_to(ROOT).as_posix()


def parse(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


_HOLDS_STATEMENTS = (ast.stmt, ast.excepthandler, ast.match_case)


def functions(tree: ast.AST) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Every function with its dotted name inside the file."""

    def walk(node: ast.AST, prefix: str) -> Iterator[tuple[str, ast.AST]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                dotted = f"{prefix}{child.name}"
                yield dotted, child
                yield from walk(child, f"{dotted}.")
            elif isinstance(child, _HOLDS_STATEMENTS):  # an expression defines no function
                yield from walk(child, prefix)

    for dotted, node in walk(tree, ""):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield dotted, node


def too_long(text: str) -> list[str]:
    """Faults of size: a file above 500 lines, a function above 60."""
    faults = []
    lines = text.count("\n")
    if lines > FILE_LINES_MAX:
        faults.append(f"{lines} lines")
    for dotted, node in functions(ast.parse(text)):
        length = (node.end_lineno or node.lineno) - node.lineno + 1
        if length > FUNCTION_LINES_MAX:
            faults.append(f"{dotted}: {length} lines")
    return faults


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.level == 0:
        return [node.module or ""]
    return []


def imports(tree: ast.AST) -> set[str]:
    """Top-level names of every module a file imports, wherever in it."""
    return {full.split(".")[0] for node in ast.walk(tree) for full in _imported(node)}


def _dotted(node: ast.expr) -> str:
    """The name that is called, with its dots; empty for whatever is no plain name."""
    if isinstance(node, ast.Attribute):
        owner = _dotted(node.value)
        return f"{owner}.{node.attr}" if owner else ""
    return node.id if isinstance(node, ast.Name) else ""


def dangerous(text: str) -> list[str]:
    """Ways to run stored bytes as code, or to hand text to a shell."""
    tree = ast.parse(text)
    faults = [f"import {module}" for module in sorted(imports(tree) & _FORBIDDEN_MODULES)]
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = _dotted(node.func)
        if called in _FORBIDDEN_CALLS:
            faults.append(f"line {node.lineno}: {called}()")
        for keyword in node.keywords:
            flag = isinstance(keyword.value, ast.Constant) and keyword.value.value is True
            if flag and keyword.arg in ("shell", "allow_pickle"):
                faults.append(f"line {node.lineno}: {keyword.arg}=True")
    return faults


def swallowed(text: str) -> list[str]:
    """Functions with a handler that catches everything and never raises."""
    tree = ast.parse(text)
    handlers = [node for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler)]
    wide = [node for node in handlers if _catches_all(node.type)]
    if not wide:
        return []
    owners = {child: dotted for dotted, node in functions(tree) for child in ast.walk(node)}
    return [
        owners.get(node, "(module)")
        for node in wide
        if not any(isinstance(inner, ast.Raise) for inner in ast.walk(node))
    ]


def _catches_all(caught: ast.expr | None) -> bool:
    if caught is None:
        return True
    names = caught.elts if isinstance(caught, ast.Tuple) else [caught]
    return any(ast.unparse(item) in ("Exception", "BaseException") for item in names)


def unfinished(text: str) -> list[str]:
    """Lines that promise work instead of doing it."""
    return [
        f"line {number}: {line.strip()[:80]}"
        for number, line in enumerate(text.splitlines(), 1)
        if _UNFINISHED.search(line)
    ]


def private(text: str) -> list[str]:
    """Lines that name a path of somebody's machine or a package registry."""
    return [
        f"line {number}: {line.strip()[:80]}"
        for number, line in enumerate(text.splitlines(), 1)
        if _PRIVATE.search(line)
    ]
