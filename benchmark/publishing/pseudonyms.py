"""Records without what tells of whom they are: ids of images and patients become pseudonyms, folders and hosts go.

A pseudonym is a keyed hash (HMAC-SHA256) under a key that is drawn for one publication and kept nowhere: who knows a
name can't find it, and two publications can't be joined. Lines are sorted by pseudonym, so that their order tells
nothing either.
"""

import base64
import hashlib
import hmac
import re
import secrets
from dataclasses import replace
from pathlib import PurePath
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmark.data.audit.audit import Audit
from benchmark.records.record import Cams, Predictions, Record

# Of a run's provenance: versions and the kind of machine; not its name, nor what was typed or printed there.
_PROVENANCE = (
    "tumorboard", "git_commit", "python", "libraries", "platform", "cpu", "cpu_count", "gpu", "driver", "threads",
    "at", "frozen_prefix", "resumed_from_epoch", "runs_before_in_process", "speeds_measured_in",
)  # fmt: skip
# A path, by its root or by the suffix of what it leads to.
_PATH = re.compile(
    r"(?:(?<![\w.)])(?:[A-Za-z]:[\\/]|~?/)[^\s'\",;]+)"
    r"|(?:[^\s'\"(,;]+\.(?:jpe?g|png|bmp|tiff?|webp|gif|dcm|dicom|nii|gz|mat|zip|npy|npz|csv|parquet|py|safetensors"
    r"|keras|h5|pt|pth|toml)\b(?:#\d+)?)",
    re.IGNORECASE,
)
_QUOTED = re.compile(r"'[^']*[\\/][^']*'")  # a name with blanks in it, as our sentences quote it


class Pseudonyms:
    """The pseudonyms of one publication."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    def image(self, name: str) -> str:
        """Return the pseudonym of an image's id, ``image-`` and 16 hex digits."""
        return f"image-{self._of('image', name)}"

    def group(self, name: str) -> str:
        """Return the pseudonym of a patient's id, or of a group of copies; an empty one stays empty."""
        return f"group-{self._of('group', name)}" if name else ""

    def _of(self, kind: str, name: str) -> str:
        return hmac.new(self._key, f"{kind}\0{name}".encode(), hashlib.sha256).hexdigest()[:16]

    def images(self, names: npt.NDArray[np.str_]) -> npt.NDArray[np.str_]:
        """Return the pseudonyms of image ids, shape (M,)."""
        return np.array([self.image(name) for name in names.tolist()], dtype=np.str_)

    def predictions(self, predictions: Predictions) -> Predictions:
        """Return predictions under pseudonyms, sorted by them."""
        groups = np.array([self.group(name) for name in predictions.groups.tolist()], dtype=np.str_)
        named = replace(predictions, image_ids=self.images(predictions.image_ids), groups=groups)
        order = np.argsort(named.image_ids)
        return Predictions(**{name: getattr(named, name)[order] for name in Predictions.__dataclass_fields__})

    def cams(self, cams: Cams) -> Cams:
        """Return heat maps under pseudonyms, sorted by them; the mean lesion of all is no image's."""
        named = replace(cams, image_ids=self.images(cams.image_ids))
        order = np.argsort(named.image_ids)
        of_images = ("image_ids", "predicted", "scored", "maps", "masks")
        return replace(named, **{name: getattr(named, name)[order] for name in of_images})

    def record(self, record: Record, predictions: Predictions | None, *, cams: bool) -> Record:
        """Return a record that names no image, no patient, no folder and no host; its identity is what it was.

        Args:
            record: of a run.
            predictions: of the run under their own ids, by whose order its audit names test images.
            cams: whether its heat maps are published.
        """
        settings, weights = record.settings, record.weights
        return record.model_copy(
            update={
                "reason": without_paths(record.reason),
                "backbone": record.backbone.model_copy(
                    update={
                        "origin": PurePath(record.backbone.origin).name,
                        "note": without_paths(record.backbone.note),
                    }
                ),
                "audit": None if record.audit is None else self._audit(record.audit, predictions),
                "settings": None if settings is None else settings.model_copy(update={"plugins": ()}),
                "weights": weights.model_copy(
                    update={name: without_paths(getattr(weights, name)) for name in ("policy", "requested", "loaded")}
                ),
                "cam": record.cam.model_copy(update={"reason": without_paths(record.cam.reason)})
                if cams and record.cam
                else None,
                "corruption": None,  # what was decided of spoilt images is not published
                "provenance": {name: record.provenance[name] for name in _PROVENANCE if name in record.provenance},
            }
        )

    def _audit(self, audit: Audit, predictions: Predictions | None) -> Audit:
        worst = tuple(
            pair.model_copy(update={"first": self.image(pair.first), "second": self.image(pair.second)})
            for pair in audit.worst
        )
        findings = tuple(each.model_copy(update={"text": without_paths(each.text)}) for each in audit.findings)
        notes = tuple(map(without_paths, audit.notes))
        references: tuple[Any, ...] = ()
        if predictions is not None:
            test = predictions.part("test")
            order = np.argsort(self.images(np.sort(test.image_ids)))  # they stand in the order of the ids
            references = tuple(
                each.model_copy(update={"probabilities": _reordered(each.probabilities, order)})
                for each in audit.references
            )
        changes = {"worst": worst, "findings": findings, "notes": notes, "references": references}
        return audit.model_copy(update=changes)


def _reordered(probabilities: str, order: npt.NDArray[np.int64]) -> str:
    """Return base64 of uint8 of shape (N, C) with its lines in another order; empty where it has no such shape."""
    try:
        flat = np.frombuffer(base64.b64decode(probabilities, validate=True), dtype=np.uint8)
    except ValueError:
        return ""
    if not len(order) or len(flat) % len(order):
        return ""
    return base64.b64encode(flat.reshape(len(order), -1)[order].tobytes()).decode("ascii")


def without_paths(text: str) -> str:
    """Return a text with ``(a path)`` in place of what names a file or folder."""
    return _PATH.sub("(a path)", _QUOTED.sub("(a path)", text))
