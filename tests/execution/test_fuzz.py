"""Whatever stands in a recipe, a suite, a manifest or a record: one sentence, or it is used. Never a traceback."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from backbones.registry import load_registry
from benchmark.data.sources.manifest import ManifestSource
from benchmark.errors import UserError
from benchmark.evaluation.costs import load_costs
from benchmark.execution.planning.request import Request, parse_setting
from benchmark.execution.planning.suite_expansion import entries_of
from benchmark.execution.planning.weights import check_policy
from benchmark.hashing import hash_file, hash_json
from benchmark.recipe import Recipe, field_names, load_recipe
from benchmark.recipe.suite import SuiteEntry, load_suite
from benchmark.records.store import RecordStore
from benchmark.reporting.board.board import make_board
from benchmark.reporting.board.flat_rows import board_lines, run_lines
from benchmark.reporting.board.rows import evaluate
from benchmark.reporting.breakdown.breakdowns import Breakdowns
from benchmark.reporting.documents.markdown import markdown
from benchmark.text import plain
from tests.execution.samples import a_record, some_predictions
from tests.watching import fuzzed, watched

QUICKLY = fuzzed(150)

NASTY = st.sampled_from([
    "", " ", "../../etc/passwd", "/etc/passwd", "\x00", "\x1b[31m", "<script>alert(1)</script>", "=1+1", "\u202e",
    "a" * 5000, "~nobody/x", "none", "auto", "timm/resnet50", "timm:", "keras:../x", "x.toml", "|", "`", "\\", "\n",
])  # fmt: skip
TEXT = NASTY | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NUMBERS = (
    st.integers(-(2**70), 2**70) | st.floats(allow_subnormal=False) | st.sampled_from([0, -1, 1, 2**31, 1e308, -0.0])
)
SCALARS = st.booleans() | NUMBERS | TEXT
# tomli-w writes integers of any size; TOML has no null
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=6
)
JSON = st.recursive(
    SCALARS | st.none(), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


def sentence(error: UserError) -> None:
    """Check that an error is what a user may see."""
    text = " ".join(str(error).split())
    assert text
    assert "Traceback" not in text


def nested(flat: dict[str, Any]) -> dict[str, Any]:
    """Return dotted fields as the tables that a file has."""
    whole: dict[str, Any] = {}
    for dotted, value in flat.items():
        *sections, name = dotted.split(".")
        target = whole
        for section in sections:
            target = target.setdefault(section, {}) if isinstance(target.get(section, {}), dict) else {}
        target[name] = value
    return whole


@QUICKLY
@given(st.dictionaries(st.sampled_from(field_names()) | TEXT, VALUES, max_size=4))
def test_recipes(tmp_path: Path, flat: dict[str, Any]) -> None:
    path = tmp_path / "fuzz.toml"
    path.write_text(tomli_w.dumps(nested(flat)), encoding="utf-8")
    try:
        recipe = load_recipe(str(path))
    except UserError as error:
        sentence(error)
    else:
        assert hash_json(recipe.model_dump(mode="json"))
    try:
        assert hash_json(Recipe().with_values(flat).model_dump(mode="json"))
    except UserError as error:
        sentence(error)


@QUICKLY
@given(st.binary(max_size=200) | st.sampled_from([b"a = " + b"[" * 5000, b"a = " + b"1" * 5000, b"#" * 2_000_000]))
def test_what_is_no_toml(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "fuzz.toml"
    path.write_bytes(data)
    for load in (load_recipe, load_suite):
        try:
            load(str(path))
        except UserError as error:
            sentence(error)


CLASSES = ("glioma", "meningioma", "notumor", "pituitary")
CLASS = st.sampled_from(CLASSES) | TEXT
COST = SCALARS | st.sampled_from([0, 1.5, float("nan"), float("inf"), 10**400])


@QUICKLY
@given(
    st.dictionaries(st.sampled_from(["wrong", "costs", "more"]), VALUES, max_size=2),
    st.dictionaries(CLASS, st.dictionaries(CLASS, COST, max_size=2), max_size=2),
)
def test_costs(tmp_path: Path, values: dict[str, Any], tables: dict[str, Any]) -> None:
    path = tmp_path / "costs.toml"
    path.write_text(tomli_w.dumps({"wrong": 1, "costs": tables, **values}), encoding="utf-8")
    with watched(tmp_path):
        try:
            costs = load_costs(path)
            costs.check(CLASSES)
        except UserError as error:
            sentence(error)
            return
    matrix = costs.matrix(CLASSES)
    assert matrix is None or (np.isfinite(matrix).all() and (matrix >= 0).all())
    assert "\x1b" not in plain(costs.sentence())


@pytest.mark.parametrize("load", [load_recipe, load_suite, lambda name: load_costs(Path(name))])
def test_a_pipe_and_a_file_without_end_are_not_waited_for(tmp_path: Path, load: Callable[[str], object]) -> None:
    pipe, large = tmp_path / "pipe.toml", tmp_path / "large.toml"
    os.mkfifo(pipe)
    large.touch()
    os.truncate(large, 2**41)
    for path, why in ((pipe, "it is not a regular file"), (large, "it has more than 1024 KiB")):
        with watched(tmp_path), pytest.raises(UserError, match=why):
            load(str(path))


ENTRY = st.dictionaries(st.sampled_from(sorted(SuiteEntry.model_fields)) | TEXT, VALUES, max_size=4)
PLAUSIBLE = st.fixed_dictionaries(
    {"name": TEXT},
    optional={
        "backbones": st.lists(TEXT, max_size=2), "recipes": st.lists(TEXT | st.just("quick"), max_size=2),
        "seeds": st.lists(st.integers(-1, 3), max_size=2), "weights": TEXT, "init_from": TEXT,
        "changes": st.dictionaries(st.sampled_from(field_names()) | TEXT, SCALARS, max_size=2),
    },
)  # fmt: skip


@QUICKLY
@given(
    st.dictionaries(st.sampled_from(["seeds", "folds", "reference", "about"]) | TEXT, VALUES, max_size=2),
    st.lists(ENTRY | PLAUSIBLE, max_size=3),
)
def test_suites(tmp_path: Path, top: dict[str, Any], entries: list[dict[str, Any]]) -> None:
    path = tmp_path / "fuzz.toml"
    words = {"backbones": ["torch/baseline_cnn"], "recipes": ["quick"], **top, "entries": entries}
    path.write_text(tomli_w.dumps(words), encoding="utf-8")
    try:
        entries_of(Request(), REGISTRY, load_suite(str(path)))
    except UserError as error:
        sentence(error)


REGISTRY = load_registry()


@QUICKLY
@given(TEXT, TEXT)
def test_words_of_the_command_line(name: str, value: str) -> None:
    for read in (parse_setting, check_policy, load_recipe, load_suite):
        for text in (value, f"{name}={value}", f"{name}.toml"):
            try:
                read(text)
            except UserError as error:
                sentence(error)


@QUICKLY
@given(
    st.lists(st.sampled_from(["path", "label", "group", "split", "mask", "slice", "plane"]) | TEXT, max_size=5),
    st.lists(st.lists(TEXT | st.sampled_from(["a.png", "b.png", "train", "test"]), max_size=5), max_size=4),
)
def test_manifests(tmp_path: Path, columns: list[str], rows: list[list[str]]) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).touch()
    path = tmp_path / "fuzz.csv"
    path.write_text("\n".join(",".join(line) for line in [["path", "label", *columns], *rows]), encoding="utf-8")
    try:
        source = ManifestSource(path)
        for item in source.items:
            assert (tmp_path / item.image_id.partition("#")[0]).resolve().is_relative_to(tmp_path.resolve())
        source.signature()
    except UserError as error:
        sentence(error)


def places(value: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the way to everything in JSON."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [way] * bool(way) + [found for key, item in inner for found in places(item, (*way, key))]


WHOLE = json.loads(a_record().model_dump_json())
PLACES = places(WHOLE)


@fuzzed(40)  # each makes a board, with its statistics
@given(st.lists(st.tuples(st.sampled_from(PLACES), JSON), min_size=1, max_size=2))
def test_records(tmp_path: Path, changes: list[tuple[tuple[Any, ...], Any]]) -> None:
    """Someone edits a record and makes its hashes fit: it is used or named, and a board can be written."""
    out = tmp_path / "out"
    shutil.rmtree(out, ignore_errors=True)
    store = RecordStore(out)
    store.write(a_record(seed=1), some_predictions())
    folder = store.write(a_record(), some_predictions())
    values = json.loads((folder / "record.json").read_text())
    for way, value in changes:
        target: Any = values
        for step in way[:-1]:
            target = target[step] if isinstance(target, dict) and step in target else None
        if isinstance(target, dict):
            target[way[-1]] = value
    try:
        values["key"] = hash_json(values["identity"])
    except ValueError:
        values["key"] = "0" * 64
    (folder / "record.json").write_text(json.dumps(values))
    sums = "".join(f"{hash_file(folder / name)}  {name}\n" for name in ("predictions.npz", "record.json"))
    (folder / "SHA256SUMS").write_text(sums)
    folder = folder.rename(folder.with_name(values["key"][:20]))

    stored = store.read_all()
    assert len(stored) + len(stored.problems) == 2
    board = make_board([evaluate(*entry) for entry in stored], stored.problems)
    run_lines(board)
    board_lines(board)
    text = markdown(board, {}, Breakdowns())
    assert "<script>" not in text
    assert "\x1b" not in text


@pytest.mark.parametrize("data", [b"", b"[" * 100_000, b"null", b'{"format": NaN}', b"\xff\xfe", b'{"key": 1e999}'])
def test_what_is_no_record(tmp_path: Path, data: bytes) -> None:
    store = RecordStore(tmp_path)
    folder = store.write(a_record(), some_predictions())
    (folder / "record.json").write_bytes(data)
    sums = "".join(f"{hash_file(folder / name)}  {name}\n" for name in ("predictions.npz", "record.json"))
    (folder / "SHA256SUMS").write_text(sums)
    [problem] = store.read_all().problems
    assert folder.name in problem
