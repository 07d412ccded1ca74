"""Write `src/holdfast/sync.py` (class Memory) from `src/holdfast/client.py` (class AsyncMemory).

The asynchronous class is written by hand; the synchronous one has the same public methods with the
same signatures and docstrings, and runs each on an event loop of its own (`holdfast.loop`).
`--check` compares the whole texts instead of writing, and fails if it found nothing to compare.
"""

from __future__ import annotations

import ast
import builtins
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src/holdfast/client.py"
TARGET = ROOT / "src/holdfast/sync.py"
WORK = "work"
"""What a method calls the coroutine it waits for; `holdfast.caller` looks for it."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Pair:
    """An asynchronous class, and the blocking one that is derived from it."""

    asynchronous: str
    blocking: str
    module: str
    """Where the asynchronous one is."""
    head: str
    """How the derived module begins."""
    phrases: Mapping[str, str]
    """What is true of the asynchronous form only, and what is true of the other instead."""
    more: str = ""
    """What the derived class does once the other form is open."""


MEMORY = Pair(
    asynchronous="AsyncMemory",
    blocking="Memory",
    module="holdfast.client",
    head='''"""The synchronous face of Holdfast: `Memory`, method for method `AsyncMemory`.

Generated from client.py by tools/generate_sync.py. Do not edit; run `make generate`.
"""

from __future__ import annotations
''',
    phrases={
        "Opens on first use, or with `async with`.": "Opened by its constructor; `with` closes it.",
    },
)

START = '''
    def _start(self, make: Callable[[], ASYNC]) -> None:
        """Start the loop and open the other form on it; on failure leave nothing running."""
        self._loop = LoopThread()
        try:
            self._async = make()
            self._loop.run(self._async.open())
        except BaseException:
            self._loop.close()
            raise
MORE'''

CLOSE = """
try:
    with suppress(ClosedError):  # closing twice is fine
        self._loop.run(self._async.aclose())
finally:
    self._loop.close()
"""


class CannotDeriveError(SystemExit):
    """The source holds something this generator has no rule for."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"generate_sync: {reason}")


def derive(source: str, pair: Pair = MEMORY) -> str:
    """The text of the synchronous module for the text of the asynchronous one, formatted."""
    tree = ast.parse(source)
    owner = _class(tree, pair)
    methods = list(_methods(owner, source, pair))
    if not any(isinstance(node, ast.AsyncFunctionDef) for node in _public(owner)):
        raise CannotDeriveError(
            f"{pair.asynchronous} has no public coroutine: nothing to derive from"
        )
    missing = {"__init__", "open", "close", "aclose"} - {
        node.name for node in owner.body if isinstance(node, Function)
    }
    if missing:
        raise CannotDeriveError(f"{pair.asynchronous} lacks {sorted(missing)}")
    body = "\n".join([_class_head(owner, pair), *methods])
    return formatted(f"{pair.head}\n{_imports(tree, body, pair)}\n\n{body}")


def _class(tree: ast.Module, pair: Pair) -> ast.ClassDef:
    name = pair.asynchronous
    found = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name]
    if not found:
        raise CannotDeriveError(f"no class {name} in the source")
    return found[0]


def _public(owner: ast.ClassDef) -> Iterator[Function]:
    """The methods to derive: all but private ones and `aclose`, which is `close` over there."""
    for node in owner.body:
        if isinstance(node, Function) and not re.match(r"_(?!_)|aclose$", node.name):
            yield node


def _class_head(owner: ast.ClassDef, pair: Pair) -> str:
    text = _in_sync_words(ast.get_docstring(owner) or "", pair)
    if not text:
        raise CannotDeriveError(f"{pair.asynchronous} has no docstring")
    indented = text.replace("\n", "\n    ")
    start = START.replace("ASYNC", pair.asynchronous).replace("MORE", pair.more)
    return f'class {pair.blocking}:\n    """{indented}\n    """\n{start}'


def _methods(owner: ast.ClassDef, source: str, pair: Pair) -> Iterator[str]:
    for node in _public(owner):
        head = [*_decorators(node), _signature(node, pair), *_docstring(node, source, pair)]
        lines = [*head, _body(node, pair)]
        text = "\n".join(lines).replace("\n", "\n    ")
        yield f"    {text}\n"


def _decorators(node: Function) -> list[str]:
    return [f"@{ast.unparse(decorator)}" for decorator in node.decorator_list]


def _is(node: Function, *decorators: str) -> bool:
    return any(ast.unparse(decorator) in decorators for decorator in node.decorator_list)


def _signature(node: Function, pair: Pair) -> str:
    name = {"__aenter__": "__enter__", "__aexit__": "__exit__"}.get(node.name, node.name)
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"def {name}({ast.unparse(node.args)}){_in_sync_words(returns, pair)}:"


def _docstring(node: Function, source: str, pair: Pair) -> list[str]:
    """The method's docstring as it is written, less the method's indentation."""
    if ast.get_docstring(node) is None:
        return []
    literal = ast.get_source_segment(source, node.body[0]) or ""
    return [f"    {_in_sync_words(literal, pair)}".replace("\n    ", "\n")]


def _body(node: Function, pair: Pair) -> str:
    lines = _call(node, pair).splitlines()
    return "\n".join(f"    {line}" for line in lines)


def _call(node: Function, pair: Pair) -> str:
    """The statements that carry out one method through the asynchronous object."""
    arguments = arguments_of(node.args)
    if node.name == "__init__":
        return f"self._start(lambda: {pair.asynchronous}({arguments}))"
    if node.name == "__aenter__":
        return "return self"
    if node.name == "__aexit__":
        return "self.close()"
    if node.name == "close":
        return CLOSE.strip()
    if _is(node, "classmethod"):
        make = f"{pair.asynchronous}.{node.name}({arguments})"
        return f"made = cls.__new__(cls)\nmade._start(lambda: {make})\nreturn made"
    if _is(node, "property"):
        return f"return self._async.{node.name}"
    if _is(node, "overload"):
        return "..."
    return _delegation(node, arguments, pair)


def _delegation(node: Function, arguments: str, pair: Pair) -> str:
    if node.decorator_list or re.fullmatch(r"__\w+__", node.name):
        raise CannotDeriveError(f"no rule for {pair.asynchronous}.{node.name}")
    if any(isinstance(inner, ast.Yield | ast.YieldFrom) for inner in ast.walk(node)):
        raise CannotDeriveError(f"no rule for the generator {pair.asynchronous}.{node.name}")
    call = f"self._async.{node.name}({arguments})"
    if isinstance(node, ast.AsyncFunctionDef):
        if WORK in {arg.arg for arg in ast.walk(node.args) if isinstance(arg, ast.arg)}:
            raise CannotDeriveError(
                f"{pair.asynchronous}.{node.name} has an argument called {WORK}"
            )
        return f"{WORK} = {call}\nreturn self._loop.run({WORK})"
    return f"return {call}"


def arguments_of(args: ast.arguments) -> str:
    """How to hand every parameter on."""
    given = [arg.arg for arg in [*args.posonlyargs, *args.args][1:]]
    given += [f"*{args.vararg.arg}"] if args.vararg else []
    given += [f"{arg.arg}={arg.arg}" for arg in args.kwonlyargs]
    given += [f"**{args.kwarg.arg}"] if args.kwarg else []
    return ", ".join(given)


def _in_sync_words(text: str, pair: Pair) -> str:
    """Documentation for the other form: no `await`, the other class's name."""
    for phrase, other in pair.phrases.items():
        text = text.replace(phrase, other)
    text = re.sub(r"\bawait ", "", text)
    text = re.sub(r"\basync (with|for|def)\b", r"\1", text)
    return re.sub(rf"\b{pair.asynchronous}\b", pair.blocking, text)


def _imports(tree: ast.Module, body: str, pair: Pair) -> str:
    """The imports the derived class needs: those of the source, or names the source defines."""
    needed = {node.id for node in ast.walk(ast.parse(body)) if isinstance(node, ast.Name)}
    needed |= set(_names_in_strings(body))
    own = {pair.asynchronous, pair.blocking, "Callable", "ClosedError", "LoopThread", "suppress"}
    own |= {"self", "cls", "made", WORK}
    lines = [
        "from collections.abc import Callable",
        "from contextlib import suppress",
        f"from {pair.module} import {pair.asynchronous}",
        "from holdfast.errors import ClosedError",
        "from holdfast.loop import LoopThread",
    ]
    needed -= own | set(dir(builtins)) | _parameters(body)
    typing_only = [inner for node in tree.body for inner in _type_checking(node)]
    lines += bindings(tree.body, needed)
    guarded = bindings(typing_only, needed)
    lines += [f"from {pair.module} import {name}" for name in sorted(needed & defined(tree))]
    if left := needed - defined(tree):
        raise CannotDeriveError(f"cannot tell where {sorted(left)} come from")
    if guarded:
        lines += ["from typing import TYPE_CHECKING", "if TYPE_CHECKING:"]
        lines += [f"    {line}" for line in guarded]
    return "\n".join(lines)


def _names_in_strings(body: str) -> Iterator[str]:
    """Names inside quoted annotations."""
    for node in ast.walk(ast.parse(body)):
        if isinstance(node, ast.arg) and isinstance(node.annotation, ast.Constant):
            inner = ast.parse(str(node.annotation.value), mode="eval")
            yield from (name.id for name in ast.walk(inner) if isinstance(name, ast.Name))


def _parameters(body: str) -> set[str]:
    return {node.arg for node in ast.walk(ast.parse(body)) if isinstance(node, ast.arg)}


def _type_checking(node: ast.stmt) -> list[ast.stmt]:
    """The statements of an `if TYPE_CHECKING:` block."""
    if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
        return node.body
    return []


def bindings(statements: Iterable[ast.stmt], needed: set[str]) -> list[str]:
    """Import statements that bind needed names; what they bind is taken out of `needed`."""
    lines = []
    for node in statements:
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        for alias in node.names:
            bound = alias.asname or alias.name.split(".")[0]
            if bound in needed:
                needed.discard(bound)
                single = type(node)(**{**dict(ast.iter_fields(node)), "names": [alias]})
                lines.append(ast.unparse(single))
    return lines


def defined(tree: ast.Module) -> set[str]:
    """Names the source module itself defines."""
    names = set()
    for node in tree.body:
        if isinstance(node, ast.ClassDef | Function):
            names.add(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return names


def formatted(text: str) -> str:
    """The text as the project's formatter leaves it."""
    name = str(TARGET.relative_to(ROOT))  # decides by which rules, not what is written
    for command in (
        ["check", "--quiet", "--fix-only", "--select", "I,F401,PIE790", "--stdin-filename", name],
        ["format", "--quiet", "--stdin-filename", name],
    ):
        result = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "-"],
            cwd=ROOT, input=text, capture_output=True, check=False, text=True,
        )  # fmt: skip
        if result.returncode:
            raise CannotDeriveError(f"the formatter refused the result: {result.stderr}\n{text}")
        text = result.stdout
    return text


def main() -> None:
    """Write the derived module, or compare it with the one on disk."""
    if not SOURCE.exists():
        raise CannotDeriveError(f"{SOURCE.relative_to(ROOT)} does not exist: nothing to check")
    text = derive(SOURCE.read_text(encoding="utf-8"))
    name = TARGET.relative_to(ROOT)
    if "--check" in sys.argv[1:]:
        if not TARGET.exists() or TARGET.read_text(encoding="utf-8") != text:
            raise SystemExit(f"{name} is out of date: run `make generate`")
        return
    TARGET.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
