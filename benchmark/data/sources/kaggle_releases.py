"""Known releases on Kaggle, told apart by their numbers of images."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from benchmark.data.sources.base import Item

_FOUR = ("glioma", "meningioma", "notumor", "pituitary")
NICKPARVAR = (
    "M. Nickparvar, Brain Tumor MRI Dataset, Kaggle (masoudnickparvar/brain-tumor-mri-dataset), "
    "doi:10.34740/kaggle/dsv/2645886"
)
SARTAJ = (
    "S. Bhuvaji et al., Brain Tumor Classification (MRI), Kaggle (sartajbhuvaji/brain-tumor-classification-mri), "
    "doi:10.34740/kaggle/dsv/1183165"
)
_MOSTLY = 0.99  # share of a release's training images that must be there


@dataclass(frozen=True)
class Release:
    """A known release.

    Args:
        title: what notes and tables call it.
        n_train, n_test: numbers of images.
        test: images of each class in the test part, in the order of the class names; ``None`` where not known.
        citation: what to cite.
        notes: what a user must know of it.
    """

    title: str
    n_train: int
    n_test: int
    test: tuple[int, int, int, int] | None
    citation: str
    notes: tuple[str, ...]


_CONFOUNDED = (
    "its images merge other sets and every 'notumor' image comes from one of them: a network can win by telling "
    "scanners apart; it has no patient ids"
)
RELEASES = (
    Release("Nickparvar v1", 5712, 1311, (300, 306, 405, 300), NICKPARVAR, (_CONFOUNDED,)),
    Release("Nickparvar v2", 5600, 1600, None, NICKPARVAR, (_CONFOUNDED,)),
    Release(
        *("Sartaj", 2870, 394, (100, 115, 105, 74), SARTAJ),
        ("its test gliomas are widely thought mislabelled; it has no patient ids",),
    ),
)


def recognise(items: Sequence[Item]) -> Release | None:
    """Return the release that these images are, complete or with at most 1 % of the training images absent."""
    if {item.class_name for item in items} != set(_FOUR):
        return None
    counts = Counter((item.part, item.class_name) for item in items)
    test = tuple(counts["test", name] for name in _FOUR)
    n_train = sum(counts["train", name] for name in _FOUR)
    for release in RELEASES:
        test_fits = release.test == test if release.test else sum(test) == release.n_test
        if test_fits and _MOSTLY * release.n_train <= n_train <= release.n_train:
            absent = release.n_train - n_train
            note = f"recognised as {release.title}" + (f", {absent} training images absent" if absent else "")
            return Release(**{**vars(release), "notes": (note, *release.notes)})
    return None
