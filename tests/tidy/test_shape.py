"""Files stay short, finished, safe and free of private things. Each check has a planted fault."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tidy import source

SWALLOWS_ALLOWED = {
    "src/holdfast/backends/postgres/bridge.py:bridged": (
        "throws the error into the function that waits, which raises it or handles it"
    ),
    "src/holdfast/backends/postgres/writer.py:Writer._carry_out": (
        "hands the error to the callers who wait for these commits; each of them raises it"
    ),
    "src/holdfast/backends/sqlite/writer.py:Writer._commit": (
        "hands the error to the callers who wait for these writes; each of them raises it"
    ),
}
"""`file:function` of handlers that may catch everything and go on, each with its reason."""

CODE = ("src", "tests", "tools", "bench")


def faults(check: Callable[[str], list[str]], *folders: str) -> list[str]:
    files = source.python_files(*folders)
    return [
        f"{source.name(path)}: {fault}"
        for path in files
        for fault in check(path.read_text(encoding="utf-8"))
    ]


def test_files_and_functions_are_short() -> None:
    assert faults(source.too_long, *CODE) == []


def test_nothing_runs_stored_bytes_as_code() -> None:
    assert faults(source.dangerous, *CODE) == []


def test_nothing_is_unfinished() -> None:
    assert faults(source.unfinished, "src", "tools", "bench") == []


def test_nobody_swallows_errors() -> None:
    found = {
        f"{source.name(path)}:{owner}"
        for path in source.python_files("src")
        for owner in source.swallowed(path.read_text(encoding="utf-8"))
    }
    assert found - set(SWALLOWS_ALLOWED) == set()
    assert set(SWALLOWS_ALLOWED) - found == set(), "the list of exceptions only shrinks"
    assert all(SWALLOWS_ALLOWED.values()), "an exception needs its reason"


def test_no_private_paths_or_hosts() -> None:
    files = source.text_files()
    assert len(files) > 20
    found = [
        f"{source.name(path)}: {fault}"
        for path in files
        for fault in source.private(path.read_text(encoding="utf-8"))
    ]
    assert found == []


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        source.name(path)
        for path in source.python_files("src", "tools")
        if (body := source.parse(path)).body and not source.ast.get_docstring(body)
    ]
    assert silent == []


LONG_FUNCTION = "def f():\n" + "    x = 1\n" * 60


@pytest.mark.parametrize(
    ("check", "planted"),
    [
        (source.too_long, "x = 1\n" * 501),
        (source.too_long, LONG_FUNCTION),
        (source.too_long, "class A:\n    async def g(self):\n" + "        x = 1\n" * 60),
        (source.dangerous, "import pickle"),
        (source.dangerous, "def f():\n    from marshal import loads"),
        (source.dangerous, "x = eval('1')"),
        (source.dangerous, "yaml.load(text)"),
        (source.dangerous, "np.load(path, allow_pickle=True)"),
        (source.dangerous, "run('ls', shell=True)"),
        (source.swallowed, "try:\n    f()\nexcept Exception:\n    pass"),
        (source.swallowed, "def f():\n    try:\n        g()\n    except:\n        log()"),
        (source.swallowed, "try:\n    f()\nexcept (KeyError, BaseException) as e:\n    print(e)"),
        (source.unfinished, "# TODO: later"),
        (source.unfinished, "raise NotImplementedError"),
        (source.unfinished, "value = 3  # good enough for now"),
        (source.private, "see /{}/notes.txt".format("root")),
        (source.private, "data = '/{}/ann/x.json'".format("home")),
        (source.private, "pip install --{}-url somewhere".format("index")),
    ],
)
def test_each_check_catches_a_planted_fault(
    check: Callable[[str], list[str]], planted: str
) -> None:
    assert check(planted) != []


@pytest.mark.parametrize(
    ("check", "fine"),
    [
        (source.too_long, "def f():\n" + "    x = 1\n" * 59),
        (source.unfinished, "    for now, later in pairs:\n        bar(placeholder=1)"),
        (source.dangerous, "yaml.safe_load(text)\nmodel.eval\nre.compile('x')"),
        (source.swallowed, "try:\n    f()\nexcept Exception as e:\n    raise E from e"),
        (source.swallowed, "try:\n    f()\nexcept KeyError:\n    pass"),
        (source.private, "GET /network/x and ~/holdfast and ./work/x"),
    ],
)
def test_no_check_cries_wolf(check: Callable[[str], list[str]], fine: str) -> None:
    assert check(fine) == []
