"""The house: which room may import which, that nothing imports in a circle, how large a room may be, and what no
variable may be called.

Imports are read from the code, those inside functions and under ``TYPE_CHECKING`` included.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# From the ground up: a room imports only from its own line and those above it in this list.
ROOMS = (
    "backbones",
    "ground",  # the files at the root of benchmark/
    "data",
    "recipe",
    "draws",
    "records",
    "engines",
    "evaluation",
    "training",
    "reporting",
    "measurement",
    "models",  # trained networks: kept by a run's worker, asked and exported after it
    "execution",
    "tracking",  # listens to runs and reads boards, and tells others
    "publishing",  # boards and kept models, made fit to be given away
    "conformance",
    "cli",
    "surface",  # what a user imports and starts: benchmark/__init__.py, benchmark/__main__.py, the package tumorboard
)
SURFACE = ("benchmark/__init__.py", "benchmark/__main__.py", "benchmark/import_name/tumorboard/__init__.py")
MAX_MODULES = 20
# How many files a newcomer opens to follow one value, by the heading of docs/design.md that lists them.
WAYS = {"Follow one image": 30, "Follow a learning rate": 14}
# A variable is called what its value is, not that somebody has it or how it was come by.
EMPTY_WORDS = frozenset({"given", "found", "known", "told", "said", "wanted"})
# Where such a name stays, by file and name, and why.
KEPT_NAMES = {
    "benchmark/records/suite_membership.py:known": "a field of the JSON file of a suite among results",
}
FRAMEWORKS = {
    "torch": ("benchmark/engines/torch/",),
    "torchvision": ("benchmark/engines/torch/",),
    "timm": ("benchmark/engines/torch/",),
    "tensorflow": ("benchmark/engines/tensorflow/",),
    "keras": ("benchmark/engines/tensorflow/",),
    "keras_cv": ("benchmark/engines/tensorflow/",),
}


def _modules() -> dict[str, str]:
    """Return the file of every module, by its dotted name."""
    files = {}
    for package in ("backbones", "benchmark"):
        for path in sorted((ROOT / package).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            dotted = name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
            files[dotted] = name
    return files


MODULES = _modules()


def room(file: str) -> str:
    """Return the room that a file stands in."""
    if file in SURFACE:
        return "surface"
    first, _, rest = file.partition("/")
    if first == "backbones":
        return "backbones"
    return rest.partition("/")[0] if "/" in rest else "ground"


def imports(source: str) -> Iterator[tuple[int, str]]:
    """Yield each imported name with its line: ``a.b.c`` for ``from a.b import c`` too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are written in full"
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"


def arrows() -> list[tuple[str, int, str]]:
    """Return (file, line, imported file) for every import of one of our own modules by another."""
    triples = []
    for file in MODULES.values():
        for line, name in imports((ROOT / file).read_text(encoding="utf-8")):
            target = MODULES.get(name) or MODULES.get(name.rpartition(".")[0])
            if target and target != file:
                triples.append((file, line, target))
    return triples


def bindings(source: str) -> Iterator[tuple[int, str]]:
    """Yield each name that is assigned, looped over, bound by ``as`` or a pattern, or a parameter, with its line."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Name(id=name, ctx=ast.Store()):
                yield node.lineno, name
            case ast.arg(arg=name):
                yield node.lineno, name
            case ast.alias(asname=str(name)):
                yield node.lineno, name
            case ast.ExceptHandler(name=str(name)):
                yield node.lineno, name
            case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                yield node.lineno, name
            case ast.MatchMapping(rest=str(name)):
                yield node.lineno, name


def test_no_arrow_runs_up() -> None:
    up = [
        f"{file}:{line} imports {target}"
        for file, line, target in arrows()
        if ROOMS.index(room(file)) < ROOMS.index(room(target))
    ]
    assert not up, "\n".join(up)


def test_nothing_in_execution_imports_reporting() -> None:
    """The command that did the runs writes the board. The list of rooms alone would allow it."""
    strays = [f"{file}:{line} imports {target}" for file, line, target in arrows()
              if room(file) == "execution" and room(target) == "reporting"]  # fmt: skip
    assert not strays, "\n".join(strays)


def test_no_circle_of_files() -> None:
    below: dict[str, set[str]] = {}
    for file, _, target in arrows():
        below.setdefault(file, set()).add(target)
    done: set[str] = set()
    circles = []

    def visit(file: str, path: tuple[str, ...]) -> None:
        if file in path:
            circles.append(" -> ".join((*path[path.index(file) :], file)))
        elif file not in done:
            for target in sorted(below.get(file, ())):
                visit(target, (*path, file))
            done.add(file)

    for file in MODULES.values():
        visit(file, ())
    assert not circles, "\n".join(circles)


@pytest.mark.parametrize(
    "module", [name for name, file in MODULES.items() if '__name__ == "__main__"' in (ROOT / file).read_text()]
)
def test_what_a_process_starts_with_can_be_imported_first(module: str) -> None:
    """A package's own imports may close a circle that the files' imports don't show."""
    done = subprocess.run([sys.executable, "-c", f"import {module}"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_room_is_in_the_list() -> None:
    assert {room(file) for file in MODULES.values()} == set(ROOMS)


def test_frameworks_are_imported_by_their_engine_and_the_adapters_only() -> None:
    strays = []
    for file in MODULES.values():
        for line, name in imports((ROOT / file).read_text(encoding="utf-8")):
            homes = FRAMEWORKS.get(name.partition(".")[0])
            if homes and not file.startswith(("backbones/", "benchmark/engines/keras/", *homes)):
                strays.append(f"{file}:{line} imports {name}")
    assert not strays, "\n".join(strays)


def test_no_folder_has_more_than_twenty_modules() -> None:
    counts: dict[str, int] = {}
    for file in MODULES.values():
        folder, _, name = file.rpartition("/")
        counts[folder] = counts.get(folder, 0) + (name != "__init__.py")
    assert max(counts.values()) <= MAX_MODULES, counts


@pytest.mark.parametrize(("heading", "most"), WAYS.items())
def test_the_ways_that_the_design_lists_are_short_and_exist(heading: str, most: int) -> None:
    _, _, rest = (ROOT / "docs" / "design.md").read_text(encoding="utf-8").partition(f"\n## {heading}\n")
    files = re.findall(r"^\| `([^`]+\.py)` \|", rest.partition("\n## ")[0], flags=re.MULTILINE)
    assert 1 < len(files) <= most
    assert len(set(files)) == len(files)
    assert [file for file in files if f"benchmark/{file}" not in MODULES.values()] == []


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("import a.b", ["a.b"]),
        ("from a.b import c, d", ["a.b.c", "a.b.d"]),
        ("def f():\n    from a import b", ["a.b"]),
        ("if TYPE_CHECKING:\n    import a", ["a"]),
    ],
)
def test_imports_are_found_wherever_they_stand(source: str, names: list[str]) -> None:
    assert [name for _, name in imports(source)] == names


def test_a_variable_is_called_what_its_value_is() -> None:
    strays, kept = [], set()
    for file in MODULES.values():
        for line, name in bindings((ROOT / file).read_text(encoding="utf-8")):
            if not file.startswith("benchmark/") or name.strip("_") not in EMPTY_WORDS:
                continue
            if f"{file}:{name}" in KEPT_NAMES:
                kept.add(f"{file}:{name}")
            else:
                strays.append(f"{file}:{line}:{name}")
    assert not strays, "\n".join(strays)
    assert kept == set(KEPT_NAMES), "a place that is no longer there is listed"


@pytest.mark.parametrize(
    "source",
    [
        "x = 1",
        "x: int = 1",
        "x += 1",
        "a, (*x, b) = c",
        "print(x := 1)",
        "for x in a: pass",
        "a = [b for x in c]",
        "with a as x: pass",
        "import a as x",
        "from a import b as x",
        "try: pass\nexcept A as x: pass",
        "def f(x): pass",
        "def f(*x): pass",
        "def f(*, x=1): pass",
        "def f(**x): pass",
        "a = lambda x: b",
        "class A:\n    x: int",
        "match a:\n    case [x, 1]: pass",
        "match a:\n    case [1, *x]: pass",
        "match a:\n    case {1: 2, **x}: pass",
    ],
)
def test_a_name_is_seen_however_it_is_bound(source: str) -> None:
    assert "x" in [name for _, name in bindings(source)]


def test_a_name_that_is_only_read_is_no_binding() -> None:
    assert list(bindings("print(x, a.x, f(x=1))\nimport x\nfrom a import x")) == []
