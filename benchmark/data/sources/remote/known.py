"""The public data sets that the harness knows by name, with what is known to be wrong with them."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from benchmark.data.sources.cheng_numbers import CITATION as CHENG
from benchmark.data.sources.kaggle_releases import NICKPARVAR, SARTAJ
from benchmark.data.sources.remote.base import About, Fetched
from benchmark.data.sources.remote.cheng import PAGE as CHENG_PAGE
from benchmark.data.sources.remote.cheng import cheng_at_hand, fetch_cheng
from benchmark.data.sources.remote.kaggle import KaggleHandle


@dataclass(frozen=True)
class KnownSet:
    """A public data set.

    Args:
        name: by which it is asked for.
        images: how many.
        classes: their names.
        patients: what is known of patients.
        faults: known ones, each a short sentence without a full stop.
        licence, citation, page: see :class:`About`.
        fetch: returns the files.
        at_hand: whether nothing has to be fetched.
    """

    name: str
    images: int
    classes: tuple[str, ...]
    patients: str
    faults: tuple[str, ...]
    licence: str
    citation: str
    page: str
    fetch: Callable[[], Fetched]
    at_hand: Callable[[], bool]


_FOUR = ("glioma", "meningioma", "notumor", "pituitary")
_THREE = ("glioma", "meningioma", "pituitary")
_UNKNOWN = "unknown"
_ON_PAGE = "as its page says"


def _of_kaggle(
    name: str,
    handle: KaggleHandle,
    images: int,
    classes: tuple[str, ...],
    faults: tuple[str, ...],
    licence: str,
    citation: str,
) -> KnownSet:
    about = About(name, "", licence, citation, handle.page)
    return KnownSet(
        *(name, images, classes, _UNKNOWN, faults, licence, citation, handle.page),
        fetch=lambda: replace(handle.fetch(about), images=images),
        at_hand=lambda: handle.at_hand() is not None,
    )


_SETS = (
    KnownSet(
        name="cheng",
        images=3064,
        classes=_THREE,
        patients="233 ids, 209 persons",
        faults=(
            "18 persons have two ids or more, which differ by a letter",
            "86 groups of near-duplicates, 271 images",
            "brightness of the border alone predicts the class with balanced accuracy 0.77",
        ),
        licence="CC BY 4.0",
        citation=CHENG,
        page=CHENG_PAGE,
        fetch=lambda: replace(fetch_cheng(), images=3064),
        at_hand=cheng_at_hand,
    ),
    _of_kaggle(
        "nickparvar",
        KaggleHandle("masoudnickparvar", "brain-tumor-mri-dataset", 1),
        7023,
        _FOUR,
        (
            "300 groups of copies, 727 files; 189 groups have a copy in both Training and Testing",
            "Br35H is the only source of notumor: a network can win by telling scanners apart",
            "4,747 of 5,023 tumour images are near-duplicates of Cheng's",
        ),
        "CC0 1.0",
        NICKPARVAR,
    ),
    _of_kaggle(
        "nickparvar-v2",
        KaggleHandle("masoudnickparvar", "brain-tumor-mri-dataset", 2),
        7200,
        _FOUR,
        ("Br35H is the only source of notumor: a network can win by telling scanners apart",),
        "CC0 1.0",
        NICKPARVAR,
    ),
    _of_kaggle(
        "sartaj",
        KaggleHandle("sartajbhuvaji", "brain-tumor-classification-mri"),
        3264,
        _FOUR,
        (
            "its test gliomas are widely thought mislabelled",
            "2,345 of 2,764 tumour images are near-duplicates of Cheng's",
        ),
        _ON_PAGE,
        SARTAJ,
    ),
    _of_kaggle(
        "br35h",
        KaggleHandle("ahmedhamada0", "brain-tumor-detection"),
        3000,
        ("notumor", "tumor"),
        ("the tumours are of unknown kinds", "its notumor images are those of Nickparvar's collection"),
        _ON_PAGE,
        "A. Hamada, Br35H: Brain Tumor Detection 2020, Kaggle (ahmedhamada0/brain-tumor-detection)",
    ),
    _of_kaggle(
        "brisc",
        KaggleHandle("briscdataset", "brisc2025"),
        6000,
        _FOUR,
        ("collated from public sets: copies of theirs are to be expected",),
        _ON_PAGE,
        "A. Fateh et al., BRISC: Annotated Dataset for Brain Tumor Segmentation and Classification, arXiv:2506.14318",
    ),
)
KNOWN_SETS = {one.name: one for one in _SETS}
