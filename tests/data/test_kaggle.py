"""The releases that people really download are told apart."""

import pytest

from benchmark.data.sources.base import Item
from benchmark.data.sources.kaggle_releases import recognise

NAMES = ("glioma", "meningioma", "notumor", "pituitary")


def release(train, test):
    parts = {"train": train, "test": test}
    return [
        Item(f"{part}/{name}/{k}.jpg", name, part=part)
        for part, counts in parts.items()
        for name, count in zip(NAMES, counts, strict=True)
        for k in range(count)
    ]


@pytest.mark.parametrize(
    ("train", "test", "note"),
    [
        ((1321, 1339, 1595, 1457), (300, 306, 405, 300), "recognised as Nickparvar v1"),
        ((1321, 1339, 1591, 1457), (300, 306, 405, 300), "recognised as Nickparvar v1, 4 training images absent"),
        ((1400, 1400, 1400, 1400), (400, 400, 400, 400), "recognised as Nickparvar v2"),
        ((826, 822, 395, 827), (100, 115, 105, 74), "recognised as Sartaj"),
    ],
)
def test_known_releases(train, test, note):
    found = recognise(release(train, test))
    assert found is not None
    assert found.notes[0] == note
    assert "Kaggle" in found.citation


@pytest.mark.parametrize(("train", "test"), [((5, 5, 5, 5), (1, 1, 1, 1)), ((1321, 1339, 1595, 1457), (3, 3, 4, 3))])
def test_other_folders_are_not_taken_for_one(train, test):
    assert recognise(release(train, test)) is None
