"""The record: what a run leaves. Scores are computed from records, never stored in them."""

import json
import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Annotated, Any, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from benchmark.data.audit.audit import Audit
from benchmark.data.dataset import Split
from benchmark.recipe import Recipe
from benchmark.records.corrupted import CorruptionFacts
from benchmark.records.outcomes import Outcome
from benchmark.records.settings import Settings

FORMAT = 1


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BackboneFacts(_Part):
    """Who ran. ``framework`` is what executed, ``library`` where the network comes from."""

    name: str
    framework: str
    library: str
    note: str = ""
    origin: str = "built-in"


class SplitFacts(_Part):
    """How the images were split; the fields of :class:`benchmark.data.dataset.Split`, its positions counted.

    Args:
        grouping: how patients were made of ids that differ by a letter at the end; empty where there are none.
        split: its name, for people; the fields below say the same for programs.
        split_hash: SHA-256 of the split table (:func:`benchmark.data.splits.files.split_table`).
        limit: the number of images that ``--limit`` left, ``None`` without.
        n_train, n_validation, n_test: numbers of images.
        leaks: a sentence for each way in which the test images are not independent.
        split_kind: ``official``, ``holdout``, ``folds``, ``official-folds``, ``regroup``, ``slice`` (folds that part
            patients) or ``external`` (all images of another set).
        fold, folds: which one this is, from 1, and of how many; ``None`` where there are no folds.
        scheme: SHA-256 of the whole cross-validation, equal for all its folds; empty where there are no folds.
        removed: how many training images were left out because they also stand in test (``--dedupe``); ``None``
            where that was not asked for.
        unscored: classes without test images; averages over classes leave them out.
    """

    split: str
    split_hash: str
    limit: int | None
    n_train: int
    n_validation: int
    n_test: int
    leaks: tuple[str, ...] = ()
    split_kind: str = ""
    fold: int | None = None
    folds: int | None = None
    scheme: str = ""
    removed: int | None = None
    unscored: tuple[str, ...] = ()
    grouping: str = ""

    @classmethod
    def of(cls, split: Split, table_hash: str, **others: Any) -> Self:
        """Return the facts of a split.

        Args:
            split: the split, with positions in its data set.
            table_hash: the SHA-256 of its split table.
            others: values of the fields that a subclass adds.
        """
        alike = ("leaks", "removed", "unscored", "fold", "folds", "scheme")
        return cls(
            split=split.name,
            split_hash=table_hash,
            limit=split.limited_to,
            split_kind=split.kind,
            n_train=len(split.train),
            n_validation=len(split.validation),
            n_test=len(split.test),
            **{name: getattr(split, name) for name in alike},
            **others,
        )


class ExternalFacts(_Part):
    """Of a run that was trained on one data set and tested on another, as one of several pairs (``--cross``).

    Args:
        trained_on, tested_on: names of the sets.
        trained_fingerprint, tested_fingerprint: their fingerprints.
        home_split_hash: SHA-256 of the split table by which the set that trained is tested at home.
        of_training: images of that split that train or choose; those that the other set holds too were left out.
    """

    trained_on: str
    tested_on: str
    trained_fingerprint: str
    tested_fingerprint: str
    home_split_hash: str
    of_training: int


class DataFacts(SplitFacts):
    """On what a run was done: the data set, and how it was split. Stored as one flat object.

    Args:
        grouped: whether patients are known.
        external: the two data sets, where it was trained on one and tested on another by ``--cross``.
    """

    name: str
    fingerprint: str
    class_names: tuple[str, ...]
    negative_class: str | None
    synthetic: bool
    grouped: bool
    external: ExternalFacts | None = None

    @property
    def negative(self) -> int | None:
        """The position of the class without a tumour among the classes, ``None`` where there is none."""
        return None if self.negative_class is None else self.class_names.index(self.negative_class)

    @property
    def tumour_names(self) -> tuple[str, ...]:
        """The classes that can be missed: all but the one without a tumour, none where there is no such class."""
        return tuple(name for name in self.class_names if self.negative_class not in (None, name))


class WeightsFacts(_Part):
    """With which weights. ``used`` is ``imagenet``, ``file`` or ``none``; ``fell_back`` is true where the policy
    asked for pretrained weights and the run went on without.
    """

    policy: str
    used: str
    requested: str
    loaded: str = ""
    hash: str = ""
    fell_back: bool = False


class NetworkFacts(_Part):
    """What was built; see :class:`benchmark.engines.Network`."""

    parameters: int
    trainable_parameters: int
    gmacs: float
    stages: tuple[str, ...]
    stages_proven: bool
    preprocessing: dict[str, Any]
    execution: dict[str, str]
    conventions: dict[str, str]


class Throughput(_Part):
    """Speeds in images per second (median over windows, and interquartile range), latencies in milliseconds.

    ``cores_taken_by_others`` is the mean number of cores that other processes kept busy while all but the training's
    speed was measured. Runs of one worker whose networks differ in nothing but weights have their speeds in common,
    but for those of training and the memory: ``provenance["speeds_measured_in"]`` names the run in which they were
    measured.
    """

    train_images_per_s: float | None = None
    train_images_per_s_iqr: float | None = None
    infer_images_per_s: float | None = None
    infer_images_per_s_iqr: float | None = None
    pipeline_images_per_s: float | None = None
    pipeline_images_per_s_iqr: float | None = None
    latency_p50_ms: float | None = None
    latency_p95_ms: float | None = None
    latency_calls: int = 0
    batch_size: int = 0
    cores_taken_by_others: float | None = None
    peak_memory_mb: float | None = None


class Timings(_Part):
    """Seconds of wall time. ``compute``, ``data`` and ``harness`` split the epochs; ``compile`` stands apart, and so
    does ``prefix``, in which the outputs of frozen stages were computed that the epochs then read.
    """

    import_s: float = 0.0
    build_s: float = 0.0
    prefix_s: float = 0.0
    compile_s: float = 0.0
    compute_s: float = 0.0
    data_s: float = 0.0
    harness_s: float = 0.0
    validation_s: float = 0.0
    checkpoint_s: float = 0.0
    evaluation_s: float = 0.0
    throughput_s: float = 0.0
    cam_s: float = 0.0
    total_s: float = 0.0

    @property
    def training_s(self) -> float:
        """Seconds until the last epoch was over, without building the network and writing checkpoints."""
        return self.prefix_s + self.compile_s + self.compute_s + self.data_s + self.harness_s + self.validation_s


# JSON has no NaN: what was not finite is written as null, and is NaN again when it is read
Measured = Annotated[float, BeforeValidator(lambda value: math.nan if value is None else value)]


class Epoch(_Part):
    """One line of a run's history. Losses are mean cross-entropies in nats, ``nan`` where they were not finite;
    ``val_macro_f1`` is 0-1.
    """

    epoch: int
    learning_rate: float
    train_loss: Measured
    val_loss: Measured
    val_macro_f1: Measured
    seconds: float


class Trial(_Part):
    """One learning rate that was tried: what validation said of its weights, and what it cost.

    ``epochs`` were trained in ``seconds``; ``best_epoch`` is the one whose weights were judged. A trial that diverged
    has a ``reason`` in place of results.
    """

    learning_rate: float
    val_loss: float | None
    val_macro_f1: float | None
    best_epoch: int | None
    epochs: int
    seconds: float
    chosen: bool
    reason: str = ""


class Randomized(_Part):
    """One step of the weight-randomisation check of Grad-CAM.

    Args:
        stage: the last one whose weights were drawn anew, with all after it.
        correlation: how much maps still look like the trained network's: the mean over images of Spearman's rank
            correlation.
    """

    stage: str
    correlation: float


class CamFacts(_Part):
    """Of heat maps: the ``stage`` that was explained and the ``method``, the numbers of images explained and scored,
    or ``reason`` why there are no maps; and the steps of the weight-randomisation check, where it was asked for.
    """

    stage: str = ""
    images: int = 0
    scored: int = 0
    reason: str = ""
    method: str = "grad-cam"
    randomized: tuple[Randomized, ...] = ()


class Record(_Part):
    """All of a run but its predictions. ``key`` is the run's identity; ``identity`` is what it hashes.

    ``audit`` is of the data and its split, made before training. ``settings`` are what the user chose beside the
    identity; records of before they were kept have none.
    """

    format: int = FORMAT
    key: str
    identity: dict[str, Any]
    outcome: Outcome
    reason: str = ""
    recipe_name: str
    seed: int
    device: str
    backbone: BackboneFacts
    data: DataFacts
    audit: Audit | None = None
    settings: Settings | None = None
    weights: WeightsFacts
    network: NetworkFacts | None = None
    throughput: Throughput = Throughput()
    timings: Timings = Timings()
    history: tuple[Epoch, ...] = ()
    best_epoch: int | None = None
    trials: tuple[Trial, ...] = ()
    cam: CamFacts | None = None
    corruption: CorruptionFacts | None = None
    provenance: dict[str, Any] = {}

    @cached_property
    def recipe(self) -> Recipe | None:
        """The recipe of the run, ``None`` where the identity holds none that this version can read."""
        return _recipe(json.dumps(self.identity.get("recipe")))


@lru_cache(maxsize=1024)
def _recipe(text: str) -> Recipe | None:
    """Return a recipe from JSON, ``None`` where it is none of this version; the runs of a board share a few."""
    try:
        return Recipe.model_validate(json.loads(text))
    except ValidationError:
        return None


@dataclass(frozen=True)
class Predictions:
    """Probabilities with image ids, for validation and test images.

    Args:
        image_ids: str, shape (M,).
        parts: str, shape (M,), ``validation`` or ``test``.
        labels: int64, shape (M,).
        groups: str, shape (M,): the patient; where patients are unknown, the slice that the image and its
            copies (identical or nearly so) show.
        probabilities: float32, shape (M, num_classes), rows sum to 1.
    """

    image_ids: npt.NDArray[np.str_]
    parts: npt.NDArray[np.str_]
    labels: npt.NDArray[np.int64]
    groups: npt.NDArray[np.str_]
    probabilities: npt.NDArray[np.float32]

    def part(self, name: str) -> "Predictions":
        """Return those of one part."""
        return self.of(self.parts == name)

    def of(self, chosen: npt.NDArray[np.bool_]) -> "Predictions":
        """Return those of the chosen images, bool of shape (M,)."""
        return Predictions(**{name: values[chosen] for name, values in vars(self).items()})


@dataclass(frozen=True)
class Cams:
    """Grad-CAM maps of test images, for the predicted class, with what is needed to score them without the data set.

    Args:
        image_ids: str, shape (M,).
        predicted: int64, shape (M,), the class whose logit was explained.
        scored: bool, shape (M,): whether a lesion is known and the image belongs to the sample that scores are means
            of; the others are there to be looked at.
        maps: float16, shape (M, h, w), at the size of the feature map, the largest value of each 1 (or all 0).
        masks: uint8, shape (M, S, ceil(S / 8)), lesions at the size of the input, eight pixels to a byte
            (``numpy.packbits``); shape (M, 0, 0) where none are known.
        mean_mask: float16, shape (S, S), mean lesion of the training images; shape (0, 0) where there is none.
    """

    image_ids: npt.NDArray[np.str_]
    predicted: npt.NDArray[np.int64]
    scored: npt.NDArray[np.bool_]
    maps: npt.NDArray[np.float16]
    masks: npt.NDArray[np.uint8]
    mean_mask: npt.NDArray[np.float16]

    def lesions(self, chosen: npt.NDArray[Any] | slice = slice(None)) -> npt.NDArray[np.bool_]:
        """Return masks of the chosen images, bool of shape (M, S, S), or of shape (M, 0, 0)."""
        packed = self.masks[chosen]
        return np.unpackbits(packed, axis=2, count=packed.shape[1]).view(np.bool_)
