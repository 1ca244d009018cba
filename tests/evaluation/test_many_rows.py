"""Boards of many rows: computed in another way than pair by pair, and the same to the last digit that is kept."""

import errno
import itertools
import json
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from many_rows import KEPT, analysed, rows, told
from scipy.stats import binomtest, norm, t

from benchmark.evaluation.bootstrap import Bootstrap, Estimate
from benchmark.evaluation.clusters import ClusteredImages, Readings
from benchmark.evaluation.comparison import compare, mcnemar_clustered, mcnemar_each
from benchmark.evaluation.intervals import satterthwaite, satterthwaite_each
from benchmark.evaluation.many_rows import kept_statistics
from benchmark.evaluation.many_rows.kept_statistics import KeptStatistics
from benchmark.evaluation.many_rows.spread import stdev
from benchmark.evaluation.multiple_testing import holm


def test_two_hundred_rows_are_judged_as_when_each_pair_was_taken_alone() -> None:
    found, kept = told(analysed(rows())), json.loads(KEPT.read_text())
    assert found["ranks"] == kept["ranks"]
    assert found["chance"] == kept["chance"]
    for name, intervals in kept["intervals"].items():
        for one, other in zip(found["intervals"][name], intervals, strict=True):
            assert one == (None if other is None else pytest.approx(other, abs=1e-8)), name
    p_values, expected = (np.array(each["pairs"], dtype=float) for each in (found, kept))
    np.testing.assert_allclose(p_values, expected, rtol=1e-6)


def _estimates(count: int) -> list[Estimate]:
    found = rows(count)
    images = ClusteredImages.of([found[0][""][0].part("test")])
    bootstrap = Bootstrap(images.count, resamples=200)
    read = [Readings.of(row, images) for row in found]
    return [bootstrap.resample(each.confusions()).estimate() for each in read if each is not None]


def test_pairs_at_once_are_the_pairs_one_by_one() -> None:
    estimates = _estimates(24)
    # a row that is read like another, and one that never varies
    estimates += [estimates[3], Estimate(1.0, np.ones(200), 0.0, 0, estimates[0].clusters)]
    compared = compare(estimates)
    numbers = list(itertools.combinations(range(len(estimates)), 2))
    assert [(pair.first, pair.second) for pair in compared] == numbers
    p, deviations = [], []
    for pair, (first, second) in zip(compared, numbers, strict=True):
        both = estimates[first].minus(estimates[second])
        p.append(2 * t.sf(abs(both.value) / both.error, both.freedom) if both.error else 1.0)
        reach = t.ppf(0.975, both.freedom) * both.error
        assert (pair.interval.low, pair.interval.high) == pytest.approx((both.value - reach, both.value + reach))
        deviations.append((both.replicates - both.replicates.mean()) / (both.error or np.inf))
    np.testing.assert_allclose(compared.p, p)
    # Romano and Wolf's step-down as it is written down: all tests in all resamples, in the order of their p
    order = np.argsort(p, kind="stable")
    resampled = 2 * norm.sf(np.abs(np.array(deviations)[order]))
    least = np.minimum.accumulate(resampled[::-1], axis=0)[::-1]
    shares = ((least <= np.array(p)[order, None]).sum(axis=1) + 1) / 201
    bounded = np.minimum(np.maximum.accumulate(shares), holm(np.array(p))[order])
    expected = np.maximum.accumulate(np.maximum(bounded, np.array(p)[order]))
    np.testing.assert_allclose(compared.p_adjusted[order], expected)


@pytest.mark.parametrize("seeds", [1, 3])
def test_mcnemar_of_clusters_at_once_is_that_of_each_pair(seeds: int) -> None:
    found = rows(6, clustered=True, seeds=seeds)
    images = ClusteredImages.of([found[0][""][0].part("test")])
    read = [Readings.of(row, images) for row in found]
    for pair in analysed(found).pairs:
        one, other = read[pair.first], read[pair.second]
        assert one is not None
        assert other is not None
        lost = np.bincount(images.clusters, one.right() - other.right(), images.count)
        (p,) = mcnemar_clustered(np.array([lost.sum()]), np.array([(lost**2).sum()]), len(lost))
        assert pair.p_mcnemar == pytest.approx(p, rel=1e-9)


def test_mcnemar_of_many_is_the_exact_binomial_test() -> None:
    counts = np.array([(a, b) for a in range(15) for b in range(15) if a + b])
    expected = [binomtest(int(a), int(a + b)).pvalue for a, b in counts]
    np.testing.assert_allclose(mcnemar_each(*counts.T), expected, rtol=1e-12)


def test_what_was_computed_before_is_found_again_and_only_for_the_same_question(tmp_path: Path) -> None:
    found = rows(5, seeds=3)
    first = analysed(found, kept=KeptStatistics(tmp_path))
    assert len(list(tmp_path.glob("*/*.npz"))) == 5
    again = analysed(found, kept=KeptStatistics(tmp_path))
    assert told(again) == told(first) == told(analysed(found))
    # a row more: nothing of the others is computed again, or changes
    more = analysed([*found, *rows(2, seeds=3)[1:]], kept=KeptStatistics(tmp_path))
    assert more.intervals[:5] == first.intervals
    assert len(list(tmp_path.glob("*/*.npz"))) == 6
    classes = found[0][""][0].probabilities.shape[1]
    analysed(found, shares=[np.full(classes, 1 / classes)] * 5, kept=KeptStatistics(tmp_path))
    assert len(list(tmp_path.glob("*/*.npz"))) == 11


def test_a_damaged_entry_is_computed_again(tmp_path: Path) -> None:
    found = rows(3)
    first = analysed(found, kept=KeptStatistics(tmp_path))
    for number, path in enumerate(sorted(tmp_path.glob("*/*.npz"))):
        path.write_bytes((b"", b"no zip file", path.read_bytes()[:200])[number])
    assert told(analysed(found, kept=KeptStatistics(tmp_path))) == told(first)


def test_an_entry_that_finds_no_room_on_the_disk_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(path: Path, **_: object) -> None:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    kept = KeptStatistics(tmp_path)
    key = kept.key("a question")
    monkeypatch.setattr(np, "savez", half)
    kept.keep(key, {"value": 1}, {})
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    monkeypatch.undo()
    kept.keep(key, {"value": 1}, {})
    assert kept.find(key) == ({"value": 1}, {})


def test_all_code_of_the_scores_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_statistics, "files", lambda package: tmp_path / package)
    for package in ("benchmark.evaluation/robustness", "benchmark.data", "benchmark.records"):
        (tmp_path / package).mkdir(parents=True)
    source = tmp_path / "benchmark.evaluation" / "robustness" / "corruption_error.py"
    source.write_text("one")
    before = kept_statistics._code.__wrapped__(())
    source.write_text("other")
    kept_statistics._read.cache_clear()
    assert kept_statistics._code.__wrapped__(()) != before


def test_code_that_statistics_import_counts_wherever_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_statistics, "files", lambda package: tmp_path.joinpath(*package.split(".")))
    home = tmp_path / "benchmark"
    for room in ("evaluation", "data", "records", "draws"):
        (home / room).mkdir(parents=True)
    (home / "evaluation/scores.py").write_text(
        "import numpy\nfrom benchmark.draws import (\n    corruptions,\n    others,\n)\n"
    )
    (home / "draws/corruptions.py").write_text("def drawn():\n    from benchmark.grouping import grouped\n")
    imported, deeper, other = home / "draws/corruptions.py", home / "grouping.py", home / "draws/masks.py"
    hashes = []
    for changed in (imported, deeper, other, None):
        kept_statistics._read.cache_clear()
        hashes.append(kept_statistics._code.__wrapped__(()))
        if changed is not None:
            changed.write_text((changed.read_text() if changed.is_file() else "") + "# changed\n")
    assert len(set(hashes)) == 3
    assert hashes[2] == hashes[3], "nobody imports it"


def test_the_code_that_counts_is_what_python_imports() -> None:
    """What stands in the hash holds at least each module of ours that importing the statistics brings in."""
    code = (
        "import sys, benchmark.evaluation.statistics, benchmark.reporting.board.rows\n"
        "print(*(module.__file__ for name, module in sys.modules.items() if name.startswith('benchmark.')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    root = Path(kept_statistics.__file__).parents[2]
    start = [root / "evaluation/statistics.py", root / "reporting/board/rows.py"]
    hashed = kept_statistics._with_imports(start, root)
    imported = {Path(name) for name in done.stdout.split() if Path(name).read_bytes().strip()}
    assert {path for path in imported if path.name != "__init__.py"} <= set(hashed)


@pytest.mark.skipif("os.name != 'posix'")
def test_a_cache_that_others_may_write_to_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o777)
    monkeypatch.setenv("TUMORBOARD_CACHE", str(folder))
    kept = KeptStatistics.of_user()
    kept.keep(kept.key("a"), {"value": 1}, {})
    assert kept.find(kept.key("a")) is None
    assert not list(folder.iterdir())


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, width=64, min_value=-1e100, max_value=1e100)
                | st.integers(-(2**53), 2**53), min_size=2, max_size=12))  # fmt: skip
def test_the_standard_deviation_is_that_of_the_standard_library(numbers: list[float]) -> None:
    assert stdev(numbers) == statistics.stdev(map(float, numbers))


def test_degrees_of_freedom_of_many_are_those_of_each() -> None:
    draw = np.random.default_rng(0)
    variances = draw.random((2, 300)) * (draw.random((2, 300)) > 0.3)  # some are 0
    freedoms = draw.integers(0, 4, (2, 300)).astype(float)
    pairs = zip(variances.T.tolist(), freedoms.T.tolist(), strict=True)
    expected = [satterthwaite(*zip(variance, freedom, strict=True)) for variance, freedom in pairs]
    found = satterthwaite_each((variances[0], freedoms[0]), (variances[1], freedoms[1]))
    np.testing.assert_allclose(found, expected, rtol=1e-15)
