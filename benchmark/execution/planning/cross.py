"""The images of a cross test: several data sets, each trained on, each tested on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product

from benchmark.data.dataset import DataSet, Split
from benchmark.data.options import DataOptions
from benchmark.data.splits.external import external_split, why_untrainable
from benchmark.data.splits.splits import SplitOptions, make_splits
from benchmark.errors import UserError
from benchmark.records.record import ExternalFacts

Open = Callable[[DataOptions], DataSet]


@dataclass(frozen=True)
class CrossImages:
    """What one network of a cross test is trained and tested on.

    Args:
        data: a set, or two as one.
        split: positions in it.
        external: of which two sets they are; ``None`` where a set is tested at home, by its own split.
        untrainable: a sentence on why nothing can be trained on these images, else empty.
    """

    data: DataSet
    split: Split
    external: ExternalFacts | None = None
    untrainable: str = ""


def cross_cells(
    sources: Sequence[str],
    options: DataOptions,
    split: SplitOptions,
    *,
    open_: Open,
    table_hash: Callable[[DataSet, Split], str],
) -> list[CrossImages]:
    """Return the cells of the matrix: each set at home, then tested on each other one.

    Args:
        sources: at least two.
        options: of every set.
        split: of every set at home.
        open_: returns what options ask for.
        table_hash: returns the hash of a split's table.

    Raises:
        UserError: a set that can't be opened or split so; two sets without a class in common; a class mapping that
            fits no two of them.
    """
    own = [replace(options, source=source, test_classes=()) for source in sources]
    opened = [open_(each) for each in own]
    homes = [(data, make_splits(data, split)[0]) for data in opened]
    _check_distinct(sources, opened)
    _check_mapping(options, opened)
    cells = [CrossImages(data, at_home) for data, at_home in homes]
    for (k, home), (m, tested) in product(enumerate(homes), enumerate(homes)):
        if k == m:
            continue
        mapping = _mapping(options, home[0], tested[0])
        both = open_(replace(own[k], test_data=own[m].source, test_classes=mapping, whole=True))
        apart = external_split(both, home, tested)
        facts = ExternalFacts(
            trained_on=home[0].name,
            tested_on=tested[0].name,
            trained_fingerprint=home[0].fingerprint,
            tested_fingerprint=tested[0].fingerprint,
            home_split_hash=table_hash(*home),
            of_training=len(home[1].train) + len(home[1].validation),
        )
        cells.append(CrossImages(both, apart, facts, why_untrainable(both, apart, tested[0].name)))
    return cells


def _check_distinct(sources: Sequence[str], opened: Sequence[DataSet]) -> None:
    seen: dict[str, str] = {}
    for source, data in zip(sources, opened, strict=True):
        if data.fingerprint in seen:
            raise UserError(
                f"--cross: '{source}' and '{seen[data.fingerprint]}' are the same images; name one of them."
            )
        seen[data.fingerprint] = source


def _mapping(options: DataOptions, training: DataSet, test: DataSet) -> tuple[tuple[str, str], ...]:
    """Return the pairs (class of the test set, class of the training set) that fit two sets, read either way."""
    pairs = [pair for name, target in options.test_classes for pair in ((name, target), (target, name))]
    return tuple(pair for pair in pairs if pair[0] in test.class_names and pair[1] in training.class_names)


def _check_mapping(options: DataOptions, opened: Sequence[DataSet]) -> None:
    for pair in options.test_classes:
        one = replace(options, test_classes=(pair,))
        if not any(_mapping(one, first, second) for first, second in product(opened, opened) if first is not second):
            classes = "; ".join(f"{data.name} has {', '.join(data.class_names)}" for data in opened)
            raise UserError(
                f"--test-class {pair[0]}={pair[1]} names no class of one set and one of another: {classes}."
            )
