"""``--data A B C --cross``: each set trains, each set tests, and what two sets share never trains for the other."""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmark.data.options import DataOptions
from benchmark.data.preparation.prepare import load_prepared
from benchmark.data.splits.external import is_telling
from benchmark.data.splits.files import load_split
from benchmark.data.splits.splits import SplitOptions
from benchmark.errors import UserError
from benchmark.execution.planning.plan import Plan, make_plan
from benchmark.execution.planning.request import Request, crossed_sources
from benchmark.execution.worker.job import Job
from benchmark.records.outcomes import Outcome
from tests.execution.commands import GOOD, Bench, request_on

Lines = list[tuple[str, str, int]]  # class, patient, number of the picture


def picture(number: int, bright: bool) -> np.ndarray:
    """Return a patchy picture; two of one number are the same slice, and no others are near-duplicates."""
    random = np.random.default_rng(number)
    pixels = np.kron(random.integers(0, 120, (8, 8)), np.ones((4, 4))) + random.integers(0, 20, (32, 32))
    pixels[8:18, 8:18] += 110 * bright
    return pixels.astype(np.uint8)


def write_set(folder: Path, lines: Lines, brighter: int = 0) -> Path:
    """Write a manifest of patients; ``brighter`` is added to all pixels, so that copies are not identical."""
    folder.mkdir()
    rows = [["path", "label", "group"]]
    for k, (name, patient, number) in enumerate(lines):
        Image.fromarray(picture(number, name != "notumor") + np.uint8(brighter)).save(folder / f"{k:03d}.png")
        rows.append([f"{k:03d}.png", name, patient])
    (folder / "manifest.csv").write_text("".join(",".join(row) + "\n" for row in rows))
    return folder


def patients(prefix: str, classes: tuple[str, ...], first: int, count: int = 8, slices: int = 2) -> Lines:
    """Return ``count`` patients of each class with some slices each, of pictures from number ``first`` on."""
    return [
        (name, f"{prefix}{c}{patient:05d}", first + 1000 * c + slices * patient + k)
        for c, name in enumerate(classes)
        for patient in range(count)
        for k in range(slices)
    ]


@dataclass(frozen=True)
class Sets:
    """Three sets: ``b`` holds one slice of each of two patients of ``a``, brighter; ``c`` has two classes only."""

    a: Path
    b: Path
    c: Path

    @property
    def sources(self) -> tuple[str, ...]:
        return str(self.a), str(self.b), str(self.c)


CLASSES = ("glioma", "meningioma", "notumor")


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sets]:
    folder = tmp_path_factory.mktemp("cross")
    of_a = patients("A", CLASSES, 0)
    taken = [line for line in of_a if line[1] in ("A000001", "A100002")][::2]  # the first slice of each
    of_b = patients("B", CLASSES, 20_000) + [(name, f"X{number:05d}", number) for name, _, number in taken]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUMORBOARD_CACHE", str(folder / "cache"))
        yield Sets(
            write_set(folder / "a", of_a),
            write_set(folder / "b", of_b, brighter=6),
            write_set(folder / "c", patients("C", CLASSES[:2], 40_000)),
        )


@pytest.fixture(scope="module")
def plan(sets: Sets, tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """The plan of all three."""
    return make_plan(cross(sets, tmp_path_factory.mktemp("plan")))


def cross(sets: Sets, folder: Path, **changes: object) -> Request:
    request = request_on(sets.a, folder, GOOD, size=16, epochs=1, batch_size=8)
    return Request(**{**vars(request), "cross": sets.sources, **changes})


def pairs_of(jobs: tuple[Job, ...]) -> dict[tuple[str, str], Job]:
    """Return jobs by the names of the sets on which they are trained and tested."""
    named = {}
    for job in jobs:
        facts = job.data.external
        named[(facts.trained_on, facts.tested_on) if facts else (job.data.name, job.data.name)] = job
    return named


def test_each_set_trains_and_each_set_tests(plan: Plan) -> None:
    jobs = pairs_of(plan.jobs)
    assert set(jobs) == {(first, second) for first in "abc" for second in "abc"}
    assert jobs["a", "c"].data.n_test == 32, "all images of the other set test, whatever their part there"
    assert jobs["a", "a"].data.n_test < 48
    home = jobs["a", "a"].data
    external = jobs["a", "b"].data.external
    assert external is not None
    assert external.home_split_hash == home.split_hash
    assert external.trained_fingerprint == home.fingerprint
    assert external.of_training == home.n_train + home.n_validation


def test_what_two_sets_share_does_not_train_for_the_other(plan: Plan) -> None:
    """Two slices of ``a`` stand in ``b``: they are left out, and so is the other slice of either patient."""
    jobs = pairs_of(plan.jobs)
    at_home, away = jobs["a", "a"].data, jobs["a", "b"].data
    plan.images.save(plan.out)
    training = {}
    for which in (("a", "a"), ("a", "b"), ("a", "c")):
        split = load_split(jobs[which].split_file)
        data = load_prepared(jobs[which].data_folder)
        training[which] = {str(name) for name in data.image_ids[np.concatenate([split.train, split.validation])]}
    lost = training["a", "a"] - training["a", "b"]
    held = {"002.png", "003.png", "020.png", "021.png"}  # of the patients A000001 and A100002
    assert lost == held & training["a", "a"]
    assert lost, "the two patients are tested at home: choose others"
    assert training["a", "b"] <= training["a", "a"]
    assert training["a", "c"] == training["a", "a"]
    assert away.removed == len(lost)
    assert away.n_train + away.n_validation == at_home.n_train + at_home.n_validation - len(lost)
    assert any(
        f"{len(lost)} of {len(training['a', 'a'])} training images are left out" in note for note in plan.notes
    )
    assert away.leaks == ()
    audit = jobs["a", "b"].audit
    assert audit is not None
    assert audit.near.test_images == 0


def test_a_class_that_one_set_lacks_is_matched_by_name(plan: Plan) -> None:
    jobs = pairs_of(plan.jobs)
    assert jobs["a", "c"].data.class_names == CLASSES
    assert jobs["a", "c"].data.unscored == ("notumor",)
    assert jobs["c", "a"].data.class_names == CLASSES[:2]
    assert jobs["c", "a"].data.n_test == 32, "images of a class that is not trained are left out"


def test_a_set_that_the_other_holds_whole_is_a_cell_with_a_reason(sets: Sets, tmp_path: Path) -> None:
    whole = write_set(tmp_path / "whole", patients("A", CLASSES, 0), brighter=9)
    jobs = pairs_of(make_plan(cross(sets, tmp_path, cross=(str(sets.a), str(whole)))).jobs)
    job = jobs["a", "whole"]
    assert job.verdict is not None
    outcome, reason = job.verdict
    assert outcome is Outcome.BAD_DATA
    assert "training images left are 0 of glioma, 0 of meningioma, 0 of notumor." in reason
    assert job.data.removed == job.data.external.of_training  # type: ignore[union-attr]
    assert jobs["a", "a"].verdict is None


def test_a_limit_holds_for_each_set(sets: Sets, tmp_path: Path) -> None:
    jobs = pairs_of(
        make_plan(cross(sets, tmp_path, cross=(str(sets.a), str(sets.c)), split=SplitOptions(limit=24))).jobs
    )
    assert jobs["a", "c"].data.n_test == 24
    assert jobs["a", "a"].data.n_train + jobs["a", "a"].data.n_validation + jobs["a", "a"].data.n_test == 24
    assert jobs["a", "c"].data.limit == 24


def test_equal_ids_are_one_person_where_they_are_long_enough(tmp_path: Path, sets: Sets) -> None:
    """The second set has other slices of two patients, under the ids ``A000001`` and ``7``."""
    first = write_set(tmp_path / "d", [*patients("A", CLASSES, 0), ("glioma", "7", 900), ("glioma", "7", 901)])
    own = [("glioma", "A000001", 7000), ("glioma", "7", 7001)]
    second = write_set(tmp_path / "e", [*patients("E", CLASSES, 30_000), *own])
    plan = make_plan(cross(sets, tmp_path, cross=(str(first), str(second))))
    job = pairs_of(plan.jobs)["d", "e"]
    assert job.data.removed in (0, 2)  # 0 where the patient is tested at home
    at_home = pairs_of(plan.jobs)["d", "d"]
    plan.images.save(plan.out)
    split, data = load_split(at_home.split_file), load_prepared(at_home.data_folder)
    trained = set(data.image_ids[np.concatenate([split.train, split.validation])].tolist())
    assert job.data.removed == 2 * ("002.png" in trained)
    assert any("1 patient ids stand in both sets (7) and are too short" in note for note in plan.notes)


@pytest.mark.parametrize(
    ("patient", "telling"),
    [("MR040240", True), ("100360", True), ("TCGA-CS-4941", True), ("p007", False),
     ("patient-00017", False), ("7", False), ("Patient 12", False), ("image glioma/0001.png", False)],
)  # fmt: skip
def test_which_ids_tell_a_person(patient: str, telling: bool) -> None:
    assert is_telling(patient) is telling


@pytest.mark.parametrize(
    ("sources", "data", "split", "says"),
    [
        (("a",), DataOptions(), SplitOptions(), "--cross needs at least two sources"),
        (("a", "a"), DataOptions(), SplitOptions(), "'a' is named twice"),
        (("a", "b"), DataOptions(test_data="c"), SplitOptions(), "leave --test-data out"),
        (("a", "b"), DataOptions(), SplitOptions(folds="all"), "leave --folds out"),
        (("a", "b"), DataOptions(), SplitOptions(kind="slice"), "--split folds or slice"),
    ],
)
def test_what_a_cross_test_has_no_place_for_is_refused(
    sources: tuple[str, ...], data: DataOptions, split: SplitOptions, says: str
) -> None:
    with pytest.raises(UserError, match=says):
        crossed_sources(sources, data, split, cross=True)


def test_the_same_images_under_two_names_are_refused(sets: Sets, tmp_path: Path) -> None:
    again = write_set(tmp_path / "again", patients("A", CLASSES, 0))
    with pytest.raises(UserError, match="are the same images"):
        make_plan(cross(sets, tmp_path, cross=(str(sets.a), str(again))))


def test_a_class_mapping_is_read_both_ways(sets: Sets, tmp_path: Path) -> None:
    other = write_set(tmp_path / "f", patients("F", ("astrocytoma", "meningioma"), 50_000))
    options = DataOptions(test_classes=(("astrocytoma", "glioma"),))
    jobs = pairs_of(make_plan(cross(sets, tmp_path, cross=(str(sets.a), str(other)), data=options)).jobs)
    assert jobs["a", "f"].data.n_test == 32
    assert jobs["f", "a"].data.n_test == 32
    wrong = DataOptions(test_classes=(("astrozytoma", "glioma"),))
    with pytest.raises(UserError, match="names no class of one set and one of another"):
        make_plan(cross(sets, tmp_path, cross=(str(sets.a), str(other)), data=wrong))


def test_several_sources_need_the_word_cross(tmp_path: Path, sets: Sets) -> None:
    bench = Bench.of(tmp_path, GOOD, sets.a)
    done = bench.run("--backbone", "test/good", "--data", str(sets.b))
    assert (done.returncode, done.stderr) == (
        2, "--data names 2 sources: give --cross to train on each and test on each.\n",
    )  # fmt: skip


def test_the_matrix_stands_on_the_board(tmp_path: Path, sets: Sets) -> None:
    """Trained for real, on the small network; the same command again does nothing anew."""
    bench = Bench.of(tmp_path, GOOD, sets.a)
    words = ("--backbone", "test/good", "--data", str(sets.b), "--cross", "--epochs", "2", "--weights", "none")
    done = bench.run(*words)
    assert done.returncode == 0, done.stdout + done.stderr
    with (bench.out / "cross_matrix.csv").open(encoding="utf-8") as stream:
        cells = {(line["trained_on"], line["tested_on"]): line for line in csv.DictReader(stream)}
    assert set(cells) == {(first, second) for first in "ab" for second in "ab"}
    for cell in cells.values():
        assert 0 <= float(cell["macro_f1"]) <= 1
    away, home = cells["a", "b"], cells["a", "a"]
    assert float(away["loss"]) == pytest.approx(float(home["macro_f1"]) - float(away["macro_f1"]))
    assert (home["loss"], home["left_out"]) == ("", "0")
    assert int(away["left_out"]) > 0
    assert int(away["n_test"]) == 50
    assert "Trained on each set, tested on each" in (bench.out / "leaderboard.md").read_text()
    assert "Trained on each set, tested on each" in (bench.out / "leaderboard.html").read_text()
    assert (bench.out / "plot_cross_matrix.png").exists()
    records = sorted((bench.out / "records").glob("*/record.json"))
    before = [path.stat().st_mtime_ns for path in records]
    assert [json.loads(path.read_text())["data"]["external"] is None for path in records].count(False) == 2
    again = bench.run(*words)
    assert again.returncode == 0
    assert [path.stat().st_mtime_ns for path in records] == before
