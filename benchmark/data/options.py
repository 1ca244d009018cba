"""What can be asked of data, as one record; and the one function that answers."""

from dataclasses import dataclass
from typing import Any, Literal

from benchmark.data.dataset import DataSet
from benchmark.data.preparation.decoding import Progress
from benchmark.data.preparation.pixels import Resize
from benchmark.data.preparation.prepare import open_dataset
from benchmark.data.relabel import with_groups_from, with_merged_groups, with_permuted_labels
from benchmark.data.sources import open_source
from benchmark.data.sources.external_test import CombinedSource
from benchmark.data.sources.layout import tidy_class
from benchmark.data.splits.splits import SplitOptions
from benchmark.errors import UserError

Groups = Literal["auto", "pid", "merged"]


@dataclass(frozen=True)
class DataOptions:
    """Which images, and what is taken for a patient.

    Args:
        source: see :func:`benchmark.data.sources.open_source`.
        size: side of the square images, in pixels.
        resize: ``squash`` or ``pad``.
        skip_corrupt: leave out images that can't be read.
        groups: ``pid`` takes patient ids as they are, ``merged`` without a letter at their end; ``auto`` is merged
            where a source is known to give one person several such ids, else pid.
        groups_from: a regular expression that tells the patient from an image's id; ``None`` for those of the source.
        permute_labels: seed of the negative control; ``None`` keeps the true labels.
        test_data: a second source, whose images are the test images.
        test_classes: pairs (class of the test data, class of the training data) that name one class differently.
        whole: whether all images of ``source`` are kept beside those of ``test_data``: a split says which train.
    """

    source: str = "phantom"
    size: int = 224
    resize: Resize = "squash"
    skip_corrupt: bool = False
    groups: Groups = "auto"
    groups_from: str | None = None
    permute_labels: int | None = None
    test_data: str | None = None
    test_classes: tuple[tuple[str, str], ...] = ()
    whole: bool = False


def open_data(options: DataOptions, *, progress: Progress | None = None) -> DataSet:
    """Return the data set that ``options`` ask for; its ``folder`` opens it again in any process.

    Raises:
        UserError: as :func:`~benchmark.data.preparation.prepare.open_dataset`; no class in common with the test
            data; no patients to merge.
    """
    source: str | CombinedSource = options.source
    if options.test_data is not None:
        mapping = {tidy_class(name): tidy_class(target) for name, target in options.test_classes}
        source = CombinedSource(
            open_source(options.source), open_source(options.test_data), mapping, whole=options.whole
        )
    elif options.test_classes:
        raise UserError("A class mapping needs --test-data, or --cross.")
    data = open_dataset(
        source,
        size=options.size,
        resize=options.resize,
        skip_corrupt=options.skip_corrupt,
        progress=progress,
    )
    if options.groups_from is not None:
        data = with_groups_from(data, options.groups_from)
    if options.groups == "merged" or (options.groups == "auto" and data.lettered_patients):
        data = with_merged_groups(data)
    if options.permute_labels is not None:
        data = with_permuted_labels(data, options.permute_labels)
    return data


def parse_class_mapping(pairs: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Return ``("a=b", ...)`` as pairs; raises ``UserError`` for what is none."""
    parsed = []
    for pair in pairs:
        name, equals, target = pair.partition("=")
        if not (name.strip() and equals and target.strip()):
            raise UserError(f"The class mapping '{pair}' must be TEST_CLASS=TRAINING_CLASS.")
        parsed.append((name.strip(), target.strip()))
    return tuple(parsed)


def parse_folds(text: str | None) -> tuple[int, ...] | Literal["all"] | None:
    """Return ``"1,3"`` as numbers, ``"all"`` and ``None`` as they are; raises ``UserError`` for anything else."""
    if text is None or text.strip().lower() == "all":
        return None if text is None else "all"
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UserError(f"--folds {text}: give 'all', or numbers like 1,3.") from None


def take_options(values: dict[str, Any], *, source: str, size: int, seed: int) -> tuple[DataOptions, SplitOptions]:
    """Return the records that command-line values ask for, and take these values out of ``values``.

    Args:
        values: by the names of :mod:`benchmark.cli.data_options`, with ``limit``, ``skip_corrupt`` and, where they
            are given, ``resize`` and ``validation_fraction``.
        source: of the images.
        size: side in pixels.
        seed: of the validation images.

    Raises:
        UserError: a fold or mapping that can't be read.
    """
    as_they_are = ("skip_corrupt", "groups", "groups_from", "permute_labels", "test_data")
    data = DataOptions(
        source=source,
        size=size,
        resize=values.pop("resize", "squash"),
        test_classes=parse_class_mapping(values.pop("test_classes")),
        **{name: values.pop(name) for name in as_they_are},
    )
    split = SplitOptions(
        kind=values.pop("split"),
        folds=parse_folds(values.pop("folds")),
        seed=seed,
        validation_fraction=values.pop("validation_fraction", 0.1),
        limit=values.pop("limit"),
        dedupe=values.pop("dedupe"),
    )
    return data, split
