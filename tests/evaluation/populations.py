"""Simulated patients and readers whose true scores are known."""

from dataclasses import dataclass

import numpy as np

from benchmark.evaluation.metrics import macro_f1
from benchmark.records.record import Predictions


@dataclass(frozen=True)
class Population:
    """Patients of one class each, with a few slices; readers share what is hard about a patient and a slice.

    Args:
        patients: drawn in each study.
        skill: of the readers; the higher, the fewer errors.
        slices: mean number per patient, at least one each.
        seed_sd: how much trainings with different seeds differ in skill.
    """

    patients: int = 60
    skill: float = 3.0
    slices: float = 4.0
    classes: int = 4
    patient_sd: float = 1.0
    seed_sd: float = 0.0

    def study(self, generator: np.random.Generator, skills: list[float], seeds: int = 1) -> np.ndarray:
        """Return confusion matrices by reader, seed and patient: shape (R, S, G, C, C)."""
        g, c = self.patients, self.classes
        patient = np.repeat(np.arange(g), 1 + generator.poisson(self.slices - 1, g))
        labels = generator.integers(0, c, g)[patient]
        n = len(patient)
        hard = generator.normal(0, self.patient_sd, (g, c))[patient] + generator.normal(0, 0.7, (n, c))
        found = np.zeros((len(skills), seeds, g, c, c), dtype=np.int64)
        for reader, skill in enumerate(skills):
            for seed in range(seeds):
                says = hard + generator.normal(0, 0.4, (g, c))[patient] + generator.normal(0, 0.6, (n, c))
                says[np.arange(n), labels] += skill + self.seed_sd * generator.normal()
                np.add.at(found[reader, seed], (patient, labels, says.argmax(axis=1)), 1)
        return found

    def truth(self) -> np.ndarray:
        """Return the confusion matrix of a very large study, whose scores are the true ones."""
        large = Population(100_000, self.skill, self.slices, self.classes, self.patient_sd)
        generator = np.random.default_rng(99)
        if not self.seed_sd:
            return large.study(generator, [self.skill]).sum(axis=(0, 1, 2))
        skills = [self.skill + self.seed_sd * z for z in np.linspace(-2, 2, 9)]
        return large.study(generator, skills).sum(axis=2)[:, 0]

    def true_macro_f1(self) -> float:
        """Return the mean macro-F1 of trainings on a very large study."""
        matrices = self.truth()
        if not self.seed_sd:
            return float(macro_f1(matrices))
        weights = np.exp(-(np.linspace(-2, 2, 9) ** 2) / 2)
        return float((macro_f1(matrices) * weights).sum() / weights.sum())


@dataclass(frozen=True)
class Probabilities:
    """Patients whose slices get probabilities from one network, which may be too sure of itself.

    Args:
        patients: drawn in each study.
        skill: of the network.
        temperature: of its logits; 1 is well calibrated where ``patient_sd`` is 0.
        slices: mean number per patient, at least one each.
        patient_sd: how alike slices of one patient are.
    """

    patients: int = 150
    skill: float = 3.0
    temperature: float = 0.6
    slices: float = 3.0
    classes: int = 4
    patient_sd: float = 0.7

    def study(self, generator: np.random.Generator, patients: int | None = None) -> Predictions:
        """Return the test predictions of one study."""
        g, c = patients or self.patients, self.classes
        patient = np.repeat(np.arange(g), 1 + generator.poisson(self.slices - 1, g))
        n = len(patient)
        labels = generator.integers(0, c, g)[patient]
        logits = generator.normal(0, self.patient_sd, (g, c))[patient] + generator.normal(0, 1, (n, c))
        logits[np.arange(n), labels] += self.skill
        logits /= self.temperature
        chances = np.exp(logits - logits.max(axis=1, keepdims=True))
        chances /= chances.sum(axis=1, keepdims=True)
        ids = np.array([f"{number:07d}" for number in range(n)])
        groups = np.array([f"p{number:06d}" for number in patient])
        return Predictions(ids, np.full(n, "test"), labels, groups, chances.astype(np.float32))
