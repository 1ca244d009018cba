"""The phantom as a source: about 1,200 simulated slices of 240 patients, on any machine, without a download."""

import hashlib
from functools import lru_cache
from importlib.metadata import version

import numpy as np

from benchmark.data.phantom import template
from benchmark.data.phantom.cohort import CLASSES, Patient, examinations
from benchmark.data.phantom.head_anatomy import reference_head
from benchmark.data.phantom.patient import scene
from benchmark.data.sources.base import Item, Loaded, SourceFacts

VERSION = 4  # raised by hand when the images change
SIZE = 192  # native, pixels


class PhantomSource:
    """Simulated contrast-enhanced T1 slices of 240 patients with lesion masks.

    Args:
        seed: another number gives other patients; the same number the same bytes.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self.facts = SourceFacts(
            name="phantom" if seed == 0 else f"phantom-{seed}",
            class_names=CLASSES,
            negative_class="notumor",
            synthetic=True,
            licence=template.LICENCE,
            citation="TumorBoard phantom, drawn around the MNI152 template: " + template.CITATION,
            notes=("synthetic: simulated around the MNI152 template, no patient's images",),
        )
        self._examinations = examinations(seed)
        self._patients = lru_cache(maxsize=None)(self._draw)
        self.items: list[Item] = []
        self._where: list[tuple[int, int]] = []
        for group, examination in enumerate(self._examinations):
            for which, class_name in enumerate(CLASSES):
                number = group * len(CLASSES) + which
                for k, (plane, _) in enumerate(examination.cuts):
                    patient = f"patient-{number:03d}"
                    self.items.append(Item(f"{class_name}/{patient}-{k + 1}.png", class_name, None, patient, plane))
                    self._where.append((number, k))

    def signature(self) -> str:
        """Return a hash of the seed and of the versions that determine the pixels."""
        parts = ["phantom", VERSION, SIZE, self.seed, version("nilearn"), version("numpy"), version("scipy")]
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    def load(self, index: int) -> Loaded:
        """Simulate ``items[index]``: pixels uint8 of shape (192, 192), mask likewise, all zero without a tumour."""
        number, k = self._where[index]
        patient = self._patients(number)
        displacement = patient.lesion.displacement if patient.lesion is not None else None
        view = scene(reference_head(), patient.anatomy, patient.plane(k, SIZE), displacement)
        mask = np.zeros((SIZE, SIZE), np.uint8)
        if patient.lesion is not None:
            mask[(patient.lesion.draw_on(view) > 0.5).reshape(SIZE, SIZE)] = 1
        noise = np.random.default_rng([self.seed, 2, number, k])
        return Loaded(patient.scanner.image(view, noise), mask=mask)

    def _draw(self, number: int) -> Patient:
        group, which = divmod(number, len(CLASSES))
        return Patient.draw(self.seed, number, CLASSES[which], self._examinations[group], reference_head())
