"""Two sources as one: trained on the first, tested on the second."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property

from benchmark.data.patients import ALONE
from benchmark.data.sources.base import Item, Loaded, Source, SourceFacts
from benchmark.errors import UserError, nearest

PREFIX = "test-data/"  # of image ids and patients of the test set


class CombinedSource:
    """The training images of one source, and all images of another as the test images: an external test set.

    Classes are matched by name, after an optional mapping. Test images of a class that is not trained are left
    out; a trained class without test images stays, and is left out of averages. Official test images of the first
    source are left out, as they would be neither training nor external, unless the whole source is asked for.

    Args:
        training: where networks learn.
        test: where they are judged.
        mapping: class names of ``test`` and the class of ``training`` that each stands for.
        whole: whether all images of ``training`` are kept, for a split that says which of them train.

    Raises:
        UserError: on use: no class in common, or a mapping that names an unknown class.
    """

    def __init__(
        self, training: Source, test: Source, mapping: Mapping[str, str] | None = None, *, whole: bool = False
    ) -> None:
        self.training = training
        self.test = test
        self.mapping = dict(mapping or {})
        self.whole = whole

    def _check(self) -> None:
        """Raise ``UserError`` unless the mapping names known classes and some class is common."""
        training, test = self.training.facts, self.test.facts
        for name, target in self.mapping.items():
            for side, facts, which in ((name, test, "test data"), (target, training, "training data")):
                if side not in facts.class_names:
                    raise UserError(
                        f"The class mapping {name}={target} names '{side}', which the {which} '{facts.name}' has not."
                        f"{nearest(side, facts.class_names)} It has {', '.join(facts.class_names)}."
                    )
        if not set(map(self._matched, test.class_names)) & set(training.class_names):
            raise UserError(
                f"'{training.name}' ({', '.join(training.class_names)}) and the test data '{test.name}' "
                f"({', '.join(test.class_names)}) have no class in common: give a mapping."
            )

    def _matched(self, name: str) -> str:
        return self.mapping.get(name, name)

    @cached_property
    def facts(self) -> SourceFacts:
        """The training source's, and what is known of either."""
        training, test = self.training.facts, self.test.facts
        return SourceFacts(
            name=f"{training.name}-tested-on-{test.name}",
            class_names=training.class_names,
            negative_class=training.negative_class,
            lettered_patients=training.lettered_patients or test.lettered_patients,
            synthetic=training.synthetic or test.synthetic,
            licence="; ".join(dict.fromkeys(filter(None, (training.licence, test.licence)))),
            citation="; ".join(dict.fromkeys(filter(None, (training.citation, test.citation)))),
            notes=self._notes(training, test),
        )

    @cached_property
    def _chosen(self) -> tuple[tuple[Source, int, Item], ...]:
        """Source, position in it and item of every image."""
        self._check()
        learned = [
            (self.training, k, item)
            for k, item in enumerate(self.training.items)
            if self.whole or item.part != "test"
        ]
        judged = [
            (self.test, k, item)
            for k, item in enumerate(self.test.items)
            if self._matched(item.class_name) in self.training.facts.class_names
        ]
        grouped = any(item.group is not None for _, _, item in (*learned, *judged))
        return tuple(
            (source, k, self._item(item, "train" if source is self.training else "test", grouped))
            for source, k, item in (*learned, *judged)
        )

    def _item(self, item: Item, part: str, grouped: bool) -> Item:
        prefix = PREFIX if part == "test" else ""
        # where only one side knows its patients, each image of the other is a patient of its own; near-duplicates
        # join them when the images are split
        group = f"{prefix}{item.group if item.group is not None else ALONE + item.image_id}" if grouped else None
        name = self._matched(item.class_name) if part == "test" else item.class_name
        return replace(item, image_id=f"{prefix}{item.image_id}", class_name=name, part=part, group=group, fold=None)

    @cached_property
    def items(self) -> tuple[Item, ...]:
        """Training images, then test images with ids that begin with ``test-data/``."""
        return tuple(item for _, _, item in self._chosen)

    def _notes(self, training: SourceFacts, test: SourceFacts) -> tuple[str, ...]:
        """Return both sources' notes, and what was left out."""
        notes = [*training.notes, *(f"test data: {note}" for note in test.notes)]
        notes.append(f"tested on all images of {test.name}")
        kept = sum(source is self.training for source, _, _ in self._chosen)
        if kept < len(self.training.items):
            notes.append(f"{len(self.training.items) - kept} official test images of {training.name} are left out")
        foreign = [name for name in test.class_names if self._matched(name) not in training.class_names]
        if foreign:
            notes.append(f"test classes that are not trained are left out: {', '.join(foreign)}")
        tested = {item.class_name for item in self.items if item.part == "test"}
        absent = [name for name in training.class_names if name not in tested]
        if absent:
            notes.append(f"classes without test images are left out of averages: {', '.join(absent)}")
        unknown = [
            source.facts.name
            for source in (self.training, self.test)
            if any(item.group is None for item in source.items)
        ]
        if len(unknown) == 1:
            notes.append(f"the patients of {unknown[0]} are unknown: its near-duplicates are kept together")
        return tuple(notes)

    def signature(self) -> str:
        """Return a hash of both sources' and the mapping."""
        parts = [
            self.training.signature(),
            self.test.signature(),
            *(f"{a}={b}" for a, b in sorted(self.mapping.items())),
            *(["whole"] if self.whole else []),
        ]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def load(self, index: int) -> Loaded:
        """Read and decode one image of either."""
        source, position, _ = self._chosen[index]
        return source.load(position)
