"""Splits: patients and copies together, tests untouched, the same for everybody."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from benchmark.data.dataset import DataSet
from benchmark.data.preparation.prepare import open_dataset
from benchmark.data.splits.files import load_split, save_split
from benchmark.data.splits.splits import SplitOptions, make_splits
from benchmark.errors import UserError


def cohort(patients: int = 40, slices: int = 5, classes: int = 3, seed: int = 0) -> DataSet:
    """A data set of patients with several slices each, and no pixels to speak of."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 2 * slices, patients)
    group = np.repeat(np.arange(patients), counts)
    n = len(group)
    return DataSet(
        name="cohort",
        pixels=np.zeros((n, 8, 8, 3), dtype=np.uint8),
        labels=(group % classes).astype(np.int64),
        image_ids=np.array([f"p{g}/{k}" for k, g in enumerate(group)]),
        class_names=tuple("abcdef"[:classes]),
        fingerprint="0" * 64,
        identical=np.arange(n, dtype=np.int64),
        groups=np.array([f"p{g}" for g in group]),
    )


def parts(split):
    return split.train, split.validation, split.test


def test_the_official_test_set_is_kept_and_validation_is_cut_from_training(kaggle):
    data = open_dataset(str(kaggle), size=8)
    split = make_splits(data, SplitOptions(seed=0, validation_fraction=0.25))[0]
    assert split.name == "official"
    assert np.array_equal(split.test, np.flatnonzero(data.parts == "test"))
    assert np.array_equal(np.sort(np.concatenate(parts(split))), np.arange(len(data)))
    assert np.bincount(data.labels[split.validation]).tolist() == [3, 3, 3]
    assert split.leaks == ()


def test_the_seed_moves_validation_and_nothing_else(kaggle):
    data = open_dataset(str(kaggle), size=8)
    first, again, other = (
        make_splits(data, SplitOptions(seed=seed, validation_fraction=0.25))[0] for seed in (0, 0, 1)
    )
    assert first.hash == again.hash
    assert first.hash != other.hash
    assert not np.array_equal(first.validation, other.validation)
    assert np.array_equal(first.test, other.test)
    held_out = [
        make_splits(replace(data, parts=None), SplitOptions(seed=seed, validation_fraction=0.25))[0]
        for seed in (0, 1)
    ]
    assert np.array_equal(held_out[0].test, held_out[1].test)


@pytest.mark.parametrize("seed", range(5))
def test_no_patient_is_parted(seed):
    data = cohort(seed=seed)
    split = make_splits(data, SplitOptions(seed=seed, validation_fraction=0.15))[0]
    assert split.name == "holdout"
    groups = [set(data.groups[part]) for part in parts(split)]
    assert sum(map(len, groups)) == len(set(data.groups))
    for part, fraction in zip(parts(split), (0.68, 0.12, 0.2), strict=True):
        shares = np.bincount(data.labels[part], minlength=3) / np.bincount(data.labels)
        assert (shares > 0).all()
        assert shares == pytest.approx(fraction, abs=0.09)


def test_copies_stay_together_and_join_their_patients():
    data = cohort()
    identical = data.identical.copy()
    first, second = (np.flatnonzero(data.groups == name)[0] for name in ("p3", "p6"))
    identical[second] = identical[first]
    data = replace(data, identical=identical)
    for seed in range(10):
        split = make_splits(data, SplitOptions(seed=seed, validation_fraction=0.3, test_fraction=0.3))[0]
        homes = [k for k, part in enumerate(parts(split)) if set(data.groups[part]) & {"p3", "p6"}]
        assert len(homes) == 1


def test_copies_in_training_and_test_are_told_with_numbers(kaggle):
    for k in range(3):
        shutil.copy(kaggle / f"Training/no_tumor/{k:02d}.png", kaggle / f"Testing/no_tumor/copy{k}.png")
    shutil.copy(kaggle / "Training/no_tumor/00.png", kaggle / "Testing/no_tumor/again.png")
    split = make_splits(open_dataset(str(kaggle), size=8), SplitOptions(seed=0, validation_fraction=0.25))[0]
    assert split.leaks == ("4 of 16 test images are identical to training images (3 groups of copies are in both)",)


def test_patients_in_training_and_test_are_told():
    data = cohort()
    data = replace(data, parts=np.where(np.arange(len(data)) % 4 == 0, "test", "train"))
    split = make_splits(data, SplitOptions(seed=0, validation_fraction=0.2))[0]
    assert any("patients" in leak for leak in split.leaks)


def test_a_limit_is_proportional_nested_and_independent_of_the_seed():
    data = cohort(patients=100)
    data = replace(data, parts=np.where(np.arange(len(data)) % 5 == 0, "test", "train"))
    before: set[int] = set()
    for limit in (20, 40, 80, 81, 160, 320):
        chosen = [
            set(
                np.concatenate(
                    parts(make_splits(data, SplitOptions(seed=seed, validation_fraction=0.2, limit=limit))[0])
                ).tolist()
            )
            for seed in (0, 7)
        ]
        assert chosen[0] == chosen[1]
        assert len(chosen[0]) == limit
        assert before <= chosen[0]
        before = chosen[0]
    positions = np.array(sorted(before))
    for part in ("train", "test"):
        whole = np.bincount(data.labels[data.parts == part])
        kept = np.bincount(data.labels[positions][data.parts[positions] == part])
        assert kept == pytest.approx(whole * 320 / len(data), abs=1)


def test_a_limit_of_a_hold_out_keeps_its_test_set_nested():
    data = cohort(patients=100)
    whole = make_splits(data, SplitOptions(seed=0, validation_fraction=0.2))[0]
    half = make_splits(data, SplitOptions(seed=0, validation_fraction=0.2, limit=100))[0]
    assert set(half.test) <= set(whole.test)
    assert half.limited_to == 100
    assert half.hash != whole.hash


def test_a_limit_beyond_the_data_keeps_everything():
    data = cohort()
    split = make_splits(data, SplitOptions(seed=0, validation_fraction=0.2, limit=10_000))[0]
    assert sum(map(len, parts(split))) == len(data)


def test_too_few_patients():
    with pytest.raises(UserError, match="Class 'a' has 1 patient to cut test images from"):
        make_splits(cohort(patients=3), SplitOptions(seed=0, validation_fraction=0.2))[0]


def test_a_split_survives_its_file(tmp_path):
    split = make_splits(cohort(), SplitOptions(seed=0, validation_fraction=0.2, limit=60))[0]
    split = replace(split, leaks=("one way", "another"))
    save_split(split, tmp_path / "split.npz")
    again = load_split(tmp_path / "split.npz")
    assert (again.name, again.hash, again.limited_to, again.leaks) == (
        split.name, split.hash, split.limited_to, split.leaks,
    )  # fmt: skip
    assert all(np.array_equal(a, b) for a, b in zip(parts(again), parts(split), strict=True))
    (tmp_path / "split.npz").write_bytes(b"damaged")
    with pytest.raises(UserError, match="can't be read"):
        load_split(tmp_path / "split.npz")


def test_a_split_is_pinned():
    """Another hash here means that every stored run changes its identity: raise the protocol version."""
    split = make_splits(cohort(), SplitOptions(seed=3, validation_fraction=0.2, limit=90))[0]
    assert split.hash[:16] == "07662f8cda58df5f"


def test_regroup_cuts_an_official_split_anew_and_keeps_near_duplicates_together():
    data = cohort(patients=80)
    parts_of = np.where(np.arange(len(data)) % 5 == 0, "test", "train")  # slices of a patient on both sides
    lopsided = replace(data, parts=parts_of, groups=None, identical=np.unique(data.groups, return_inverse=True)[1])
    lopsided = replace(lopsided, pixels=np.random.default_rng(0).integers(0, 256, lopsided.pixels.shape, np.uint8))
    (official,) = make_splits(lopsided, SplitOptions(kind="official", dedupe=True))
    (regrouped,) = make_splits(lopsided, SplitOptions(kind="regroup"))
    assert (regrouped.name, regrouped.kind) == ("regroup", "regroup")
    assert official.removed > 0
    for one, other in ((regrouped.train, regrouped.test), (regrouped.validation, regrouped.test)):
        assert not np.isin(lopsided.identical[one], lopsided.identical[other]).any()
    assert sum(map(len, parts(regrouped))) == len(data)  # nothing is left out
    assert len(regrouped.test) / len(data) == pytest.approx((parts_of == "test").mean(), abs=0.05)
    shares = [np.bincount(lopsided.labels[part], minlength=3) / len(part) for part in parts(regrouped)]
    assert np.abs(shares[0] - shares[2]).sum() / 2 < 0.05
    folds = make_splits(lopsided, SplitOptions(kind="regroup", folds="all"))
    assert [fold.name for fold in folds] == [f"regroup-fold-{k}-of-5" for k in range(1, 6)]
    assert sorted(np.concatenate([fold.test for fold in folds]).tolist()) == list(range(len(data)))
