"""``model.json``: all that is known of a kept model but its weights. JSON with no code; read within bounds."""

import json
import re
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from backbones import Preprocessing
from backbones._weight_files import problem_with_file
from benchmark.atomic_files import write_atomically
from benchmark.engines.base import SavedNetwork
from benchmark.errors import UserError
from benchmark.foreign_files import Refused, is_plain_name, read_foreign
from benchmark.hashing import hash_bytes, hash_file
from benchmark.recipe import Recipe
from benchmark.records.record import BackboneFacts, DataFacts, Throughput, WeightsFacts

FORMAT = 1  # raised by hand when older versions can't use what newer ones keep
FILE, CARD, EXPORTS = "model.json", "README.md", "exports"
MAX_JSON_BYTES = 4 * 2**20
_SHA256 = re.compile(r"[0-9a-f]{64}")
_TIMM_NAME = re.compile(r"\w+(\.\w+)?")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Input(_Part):
    """What the network takes.

    Args:
        size: side of the square image, in pixels.
        resize: how an image becomes a square: ``squash`` or ``pad``; antialiased (bicubic, Pillow).
        preprocessing: from RGB pixels, 0 to 255, to the input: ``(pixels * scale - mean) / std`` for each channel.
    """

    size: int
    resize: Literal["squash", "pad"]
    preprocessing: dict[str, Any]

    @property
    def as_preprocessing(self) -> Preprocessing:
        """The preprocessing as backbones declare it."""
        values = dict(self.preprocessing)
        return Preprocessing(**{**values, "mean": tuple(values["mean"]), "std": tuple(values["std"])})


class TrainingImages(_Part):
    """What the training images look like, so that others can be told from them.

    Args:
        grey: share of them whose three channels are equal, 0 to 1.
        sides: the smallest and the largest side of any, in pixels, before resizing; ``None`` where unknown.
        suffixes: of their files, such as ``.jpg``.
    """

    grey: float
    sides: tuple[int, int] | None = None
    suffixes: tuple[str, ...] = ()


class Calibration(_Part):
    """What was chosen on validation images, and what it does on test images.

    Args:
        temperature: by which logits are divided; see :mod:`benchmark.evaluation.temperature`.
        ece_before, ece_after: expected calibration error on the test images without and with it.
        specificity: the least share of validation images without a tumour that are not reported.
        threshold: a tumour is reported where its probability, at the temperature, is at least this; ``None`` where
            there is no class without a tumour, or no such validation images.
        test_sensitivity, test_specificity: what that gives on the test images; ``None`` likewise.
        distance: of features; an image above it is unlike the training images; ``None`` where features can't be had.
        n_validation: number of images on which all was chosen.
    """

    temperature: float = 1.0
    ece_before: float | None = None
    ece_after: float | None = None
    specificity: float | None = None
    threshold: float | None = None
    test_sensitivity: float | None = None
    test_specificity: float | None = None
    distance: float | None = None
    n_validation: int = 0


class Score(_Part):
    """A score with its 95 % interval, where it has one."""

    value: float
    low: float | None = None
    high: float | None = None


class BoardFigures(_Part):
    """The row of a board that the model is of.

    Args:
        block: the rows that it was compared with.
        rank: within the block; ``None`` where it is not ranked, and then ``unranked`` says why.
        rows: number of rows in the block.
        runs: number of runs that the row is a mean of.
        scores: by the board's column names.
    """

    block: str
    rank: int | None
    unranked: str = ""
    rows: int
    runs: int
    scores: dict[str, Score]


class Export(_Part):
    """A file for another runtime, and the proof that it computes the same.

    Args:
        file: name in the folder ``exports``.
        target: such as ``onnx``.
        whole: whether it takes uint8 images and gives probabilities; else normalised input and logits.
        runtime: what computed it, with its version.
        images: number of images on which it was compared.
        largest_difference: of a probability.
        changed_decisions: images whose most probable class is another.
        sha256: of the file; of a folder, of its files' names and hashes.
        latency_p50_ms: median of one image alone in that runtime, in milliseconds.
        made_by: versions of the libraries.
    """

    file: str
    target: str
    whole: bool
    runtime: str
    images: int
    largest_difference: float
    changed_decisions: int
    sha256: str
    latency_p50_ms: float | None = None
    made_by: dict[str, str] = {}


class Model(_Part):
    """A kept model.

    Args:
        format: of this file.
        version: of TumorBoard that kept it.
        key: identity of its run, whose ``identity`` is all that it hashes; ``record`` of the same key has more.
        recipe_name, seed, device, engine: of the run.
        keeps: ``best`` where a better row of the board may take its place, ``all`` where the user keeps it.
        backbone: which network.
        backbone_source: SHA-256 of the file that declares it.
        cam_stage: the stage that its adapter has explained, ``None`` for the usual one.
        reader: how its library reads the files; see :class:`~benchmark.engines.base.SavedNetwork`.
        input: what the network takes.
        data: the images, their classes in the order of the probabilities, the split.
        audit: what the audit found, a sentence each.
        data_licence, data_citation: of the images, empty where unknown.
        training_images: what they look like.
        calibration: what was chosen on validation images.
        scores: of this run, on the test images.
        board: the row of the board, once there is one.
        throughput: speeds that were measured.
        parameters, gmacs: of the network.
        weights: from which it began, and their licence.
        libraries: versions.
        files: SHA-256 by name.
        proof_images: test images on which exports are compared, as :func:`short_hash` of their ids.
        exports: files for other runtimes.
        provenance: Git commit, Python, machine and date.
    """

    format: int = FORMAT
    version: str
    key: str
    identity: dict[str, Any]
    recipe_name: str
    seed: int
    device: str
    engine: str
    keeps: Literal["all", "best"]
    backbone: BackboneFacts
    backbone_source: str = ""
    cam_stage: str | None = None
    reader: dict[str, Any]
    input: Input
    data: DataFacts
    audit: tuple[str, ...] = ()
    data_licence: str = ""
    data_citation: str = ""
    training_images: TrainingImages
    calibration: Calibration
    scores: dict[str, float]
    board: BoardFigures | None = None
    throughput: Throughput = Throughput()
    parameters: int
    gmacs: float
    weights: WeightsFacts
    weights_licence: str = ""
    libraries: dict[str, str] = {}
    files: dict[str, str]
    proof_images: tuple[str, ...] = ()
    exports: tuple[Export, ...] = ()
    provenance: dict[str, Any] = {}

    @property
    def saved(self) -> SavedNetwork:
        """How the library reads the files."""
        return SavedNetwork(**{**self.reader, "files": tuple(self.reader["files"])})

    @property
    def recipe(self) -> Recipe:
        """The recipe of the run."""
        return Recipe.model_validate(self.identity["recipe"])

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes, in the order of the probabilities."""
        return self.data.class_names

    def write(self, folder: Path) -> None:
        """Write ``model.json``; raises ``OSError``."""
        write_atomically(folder / FILE, self.model_dump_json(indent=1) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read ``model.json``, and see that it is one that this version can use.

        Raises:
            UserError: there is none, it is damaged, or a newer version made it.
        """
        try:
            text = read_foreign(folder, FILE, limit=MAX_JSON_BYTES)
        except FileNotFoundError:
            raise UserError(f"'{folder}' holds no kept model: there is no {FILE} in it.") from None
        except (Refused, OSError) as error:
            raise UserError(f"'{folder / FILE}' is not read, because {error}.") from None
        try:
            values = json.loads(text)
            made = values.get("format") if isinstance(values, dict) else None
            if isinstance(made, int) and made > FORMAT:
                version = str(values.get("version"))[:20]
                raise UserError(
                    f"'{folder}' was made by a newer TumorBoard ({version}, format {made}; this one reads {FORMAT}): "
                    f"update this one."
                )
            model = cls.model_validate(values)
            _require_sound(model)
        except (ValueError, RecursionError, KeyError, TypeError) as error:
            raise UserError(f"'{folder / FILE}' does not describe a model ({_first(error)}).") from None
        return model

    def check_files(self, folder: Path) -> None:
        """Raise ``UserError`` unless each file is there and as it was written."""
        for name, expected in self.files.items():
            path = folder / name
            if path.is_symlink() or not path.is_file():
                raise UserError(f"'{path}' is missing: the model is not whole; copy its folder anew.")
            wrong = problem_with_file(path)  # a sparse file of terabytes takes hours to hash
            if wrong:
                raise UserError(f"'{path}' is not read: {wrong}.")
            if hash_file(path) != expected:
                raise UserError(
                    f"'{path}' is not as it was written (its SHA-256 is another): it is not used; copy it anew."
                )


def short_hash(image_id: str) -> str:
    """Return 16 hex digits of the SHA-256 of an image's id, which may name a patient."""
    return hash_bytes(image_id.encode())[:16]


def _require_sound(model: Model) -> None:
    """Raise ``ValueError`` where values that were read would lead astray."""
    if not all(is_plain_name(name) and _SHA256.fullmatch(digest) for name, digest in model.files.items()):
        raise ValueError("its files are not named as files of a model are")
    if not set(model.saved.files) <= set(model.files):
        raise ValueError("it names files without a SHA-256")
    if len(set(model.class_names)) != len(model.class_names) or len(model.class_names) < 2:
        raise ValueError("its classes are not at least two different ones")
    if not 8 <= model.input.size <= 4096 or not 0 < model.calibration.temperature < 1000:
        raise ValueError("its size or temperature is out of range")
    if model.data.negative_class is not None and model.data.negative_class not in model.class_names:
        raise ValueError("its class without a tumour is not among its classes")
    arguments = model.saved.arguments
    if set(arguments) - {"model_name", "num_classes", "img_size"} or not all(
        isinstance(value, int) or (name == "model_name" and isinstance(value, str) and _TIMM_NAME.fullmatch(value))
        for name, value in arguments.items()
    ):
        raise ValueError("it names no network of timm")  # a hub's address, or a file, would be fetched and trusted
    _ = model.input.as_preprocessing, model.recipe


def _first(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_input=False, include_url=False)[0]
        return f"{'.'.join(str(part)[:40] for part in first['loc'])}: {first['msg'][:150]}"
    return str(error)[:150]
