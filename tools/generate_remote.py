"""Write `src/holdfast/remote/client.py` (AsyncClient), `src/holdfast/remote/sync.py` (Client) and
`src/holdfast/remote/sync_faces.py`, what Client has beside its memories.

AsyncClient has every verb of `AsyncMemory`, with its signature and its docstring, and hands it to
`remote.connection.Connection`, which is written by hand. Client is derived from both as Memory is
from AsyncMemory. `--check` compares the whole texts instead of writing.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from generate_sync import (
    SOURCE,
    CannotDeriveError,
    Function,
    Pair,
    arguments_of,
    bindings,
    defined,
    derive,
    formatted,
)

ROOT = Path(__file__).parents[1]
CONNECTION = ROOT / "src/holdfast/remote/connection.py"
ASYNC_TARGET = ROOT / "src/holdfast/remote/client.py"
SYNC_TARGET = ROOT / "src/holdfast/remote/sync.py"
FACES = ROOT / "src/holdfast/remote/faces.py"
FACES_TARGET = ROOT / "src/holdfast/remote/sync_faces.py"

NOT_VERBS = {"open", "close", "aclose", "from_config"}
"""Public methods of AsyncMemory that are no verbs."""

HEAD = '''"""The client of a Holdfast server: `AsyncClient`, verb for verb `AsyncMemory`.

Generated from client.py by tools/generate_remote.py. Do not edit; run `make generate`.
"""

from __future__ import annotations
'''

DOCUMENTATION = """What a Holdfast server remembers, with the methods and answers of `AsyncMemory`.

    Opens on first use, or with `async with`. Belongs to the event loop it is first used on.
    Raises what `AsyncMemory` raises, and ServerUnavailableError and ServerTimeoutError."""

CLIENT = Pair(
    asynchronous="AsyncClient",
    blocking="Client",
    module="holdfast.remote.client",
    head='''"""The blocking client of a Holdfast server: `Client`, method for method `AsyncClient`.

Generated from client.py by tools/generate_remote.py. Do not edit; run `make generate`.
"""

from __future__ import annotations
''',
    phrases={
        "Opens on first use, or with `async with`.": "`with` closes it.",
        "Belongs to the event loop it is first used on.": "Any number of threads may use one.",
        "; `aclose` also ends the connections": ", and end the connections",
        "`AsyncMemory`": "`Memory`",
    },
    more='''        self.usage = sync_faces.Usage(self._async.usage, self._loop)
        """What calls of models took and cost."""
        self.budgets = sync_faces.Budgets(self._async.budgets, self._loop)
        """How much they may take."""
        self.erasure = sync_faces.Erasure(self._async.erasure, self._loop)
        """Forgetting subjects, and what is known of them."""
        self.retention = sync_faces.Retention(self._async.retention, self._loop)
        """What is removed for its age."""
        self.quarantine = sync_faces.Quarantine(self._async.quarantine, self._loop)
        """What untrusted sources said."""
''',
)

FACES_HEAD = '''"""What `Client` has beside its memories, method for method as `AsyncClient`.

Generated from faces.py by tools/generate_remote.py. Do not edit; run `make generate`.
"""

from __future__ import annotations

from holdfast.loop import LoopThread
from holdfast.remote import faces
'''


def verbs(source: str) -> Iterator[Function]:
    """The public methods of AsyncMemory that a server carries out."""
    owner = next(
        node
        for node in ast.parse(source).body
        if isinstance(node, ast.ClassDef) and node.name == "AsyncMemory"
    )
    for node in owner.body:
        hidden = getattr(node, "name", "_").startswith("_")
        if isinstance(node, Function) and not hidden and node.name not in NOT_VERBS:
            yield node


def asynchronous(source: str) -> str:
    """The text of AsyncClient's module for the text of AsyncMemory's."""
    tree = ast.parse(source)
    methods = "\n".join(_method(node, source) for node in verbs(source))
    head = f'class AsyncClient(Connection):\n    """{DOCUMENTATION}\n    """\n'
    body = f"{head}\n{methods}"
    needed = {node.id for node in ast.walk(ast.parse(body)) if isinstance(node, ast.Name)}
    lines = bindings(tree.body, needed)
    lines += [f"from holdfast.client import {name}" for name in sorted(needed & defined(tree))]
    lines.append("from holdfast.remote.connection import Connection")
    return formatted("\n".join([HEAD, *lines, "", body]))


def blocking(client: str, connection: str) -> str:
    """The text of Client's module: of the verbs, and of how a connection begins and ends."""
    whole = ast.parse(client)
    base = next(
        node
        for node in ast.parse(connection).body
        if isinstance(node, ast.ClassDef) and node.name == "Connection"
    )
    lifecycle = "\n\n".join(
        _source(node, connection)
        for node in base.body
        if isinstance(node, Function) and not re.match(r"_(?!_)", node.name)
    )
    imports = "from holdfast.remote import sync_faces\n" + "\n".join(
        ast.get_source_segment(connection, node) or ""
        for node in ast.parse(connection).body
        if isinstance(node, ast.ImportFrom) and node.module != "__future__"
    )
    owner = next(node for node in whole.body if isinstance(node, ast.ClassDef))
    lines = client.splitlines()
    start = owner.body[1].lineno - 1
    merged = [*lines[: owner.lineno - 1], imports, *lines[owner.lineno - 1 : start]]
    return derive("\n".join([*merged, lifecycle, *lines[start:]]), CLIENT)


def blocking_faces(source: str) -> str:
    """The text of the blocking faces: each hands its calls to the asynchronous one on its loop."""
    tree = ast.parse(source)
    owners = [
        node
        for node in tree.body
        if isinstance(node, ast.ClassDef) and node.name.startswith("Async")
    ]
    if not owners:
        raise CannotDeriveError("no faces in the source")
    body = "\n\n".join(_face(owner, source) for owner in owners)
    needed = {node.id for node in ast.walk(ast.parse(body)) if isinstance(node, ast.Name)}
    lines = ["from collections.abc import Iterator", *bindings(tree.body, needed)]
    return formatted("\n".join([FACES_HEAD, *lines, "", body]))


def _face(owner: ast.ClassDef, source: str) -> str:
    lines = [
        f"class {owner.name.removeprefix('Async')}:",
        f'    """{ast.get_docstring(owner)}"""',
        "",
        f"    def __init__(self, of: faces.{owner.name}, loop: LoopThread) -> None:",
        '        """`of`: the asynchronous face, on this loop."""',
        "        self._async = of",
        "        self._loop = loop",
        "",
    ]
    for node in owner.body:
        if isinstance(node, ast.AsyncFunctionDef) and not node.name.startswith("_"):
            lines += [*_face_method(node, source), ""]
    return "\n".join(lines)


def _face_method(node: ast.AsyncFunctionDef, source: str) -> list[str]:
    streams = any(isinstance(inner, ast.Yield) for inner in ast.walk(node))
    returns = ast.unparse(node.returns) if node.returns else "None"
    documentation = ast.get_source_segment(source, node.body[0]) or ""
    gives = "Iterator[str]" if streams else returns
    call = f"self._async.{node.name}({arguments_of(node.args)})"
    return [
        f"    def {node.name}({ast.unparse(node.args)}) -> {gives}:",
        f"        {documentation}",
        f"        yield from self._loop.each({call})" if streams else f"        work = {call}",
        *([] if streams else ["        return self._loop.run(work)"]),
    ]


def _source(node: Function, text: str) -> str:
    return "\n".join(text.splitlines()[node.lineno - 1 : node.end_lineno])


def _method(node: Function, source: str) -> str:
    """One verb: its head and its documentation as they are, and the call."""
    if node.decorator_list or node.args.vararg or node.args.kwarg:
        raise CannotDeriveError(f"no rule for AsyncMemory.{node.name}")
    returns = ast.unparse(node.returns) if node.returns else "Any"
    documentation = ast.get_source_segment(source, node.body[0]) or ""
    call = f"await self._call({node.name!r}, locals())"
    lines = [
        f"async def {node.name}({ast.unparse(node.args)}) -> {returns}:",
        f"    {documentation}",
        f"    {call}" if returns == "None" else f"    answer: {returns} = {call}",
        "" if returns == "None" else "    return answer",
    ]
    head, *rest = lines
    return "\n".join([f"    {head}", f"    {rest[0]}", *(f"    {line}" for line in rest[1:]), ""])


def main() -> None:
    """Write the derived modules, or compare them with those on disk."""
    source, connection = SOURCE.read_text("utf-8"), CONNECTION.read_text("utf-8")
    client = asynchronous(source)
    made = (
        (ASYNC_TARGET, client),
        (SYNC_TARGET, blocking(client, connection)),
        (FACES_TARGET, blocking_faces(FACES.read_text("utf-8"))),
    )
    for target, text in made:
        if "--check" not in sys.argv[1:]:
            target.write_text(text, encoding="utf-8")
        elif not target.exists() or target.read_text(encoding="utf-8") != text:
            raise SystemExit(f"{target.relative_to(ROOT)} is out of date: run `make generate`")


if __name__ == "__main__":
    main()
