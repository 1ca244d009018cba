"""How unlike its training images an image is to a network: the distance of its features to their nearest neighbours.

Sun et al. 2022, "Out-of-Distribution Detection with Deep Nearest Neighbors" (ICML): features are scaled to length 1,
and an image's distance is that to its k-th nearest training image. A sample of the training images does nearly as
well as all (their section 4). The threshold comes from validation images, of patients that were not trained on.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmark.errors import UserError

FILE = "features.safetensors"
MOST_TRAINING, MOST_VALIDATION = 300, 200  # images whose features are computed: each costs a forward pass
NEIGHBOUR = 5
ORDINARY = 0.99  # share of ordinary images that are to lie below the threshold
HASH_BYTES = 8  # of a SHA-256: two of a million images share them by chance once in ten million sets
_CHUNK = 4_000_000  # products that are held at once

Features = npt.NDArray[np.float32]


@dataclass(frozen=True)
class TrainingFeatures:
    """The features of some training images.

    Args:
        features: float32, shape (M, K), of length 1 each.
        threshold: a distance above which an image is unlike them.
        trained_on: the beginnings of the SHA-256 of the native pixels of every image on which the network was trained
            or chosen (:func:`image_hash`).
    """

    features: Features
    threshold: float
    trained_on: frozenset[bytes] = frozenset()

    @classmethod
    def of(
        cls, training: Features, validation: Features, trained_on: frozenset[bytes] = frozenset()
    ) -> "TrainingFeatures":
        """Return what is kept of features, shapes (M, K) and (V, K).

        Of V + 1 exchangeable images, the last one's distance lies above the threshold with a chance of 1 % at most
        (Vovk et al. 2005, conformal prediction); with fewer than 99 validation images the threshold is their
        greatest distance, and the chance 1 / (V + 1).
        """
        kept = cls(_of_length_one(training), np.inf)
        distances = np.sort(kept.distances(validation))
        place = min(len(distances), int(np.ceil((len(distances) + 1) * ORDINARY)))
        return cls(kept.features, float(distances[place - 1]) if len(distances) else float("inf"), trained_on)

    def distances(self, features: Features) -> npt.NDArray[np.float64]:
        """Return each image's distance to its fifth nearest training image, 0 to 2: shape (N,).

        Raises:
            UserError: they have another length than the training images' features.
        """
        length, kept = features.shape[1], self.features.shape[1]
        if length != kept:
            raise UserError(
                f"The network gives {length} features of an image, and {FILE} holds {kept} of each: it is another "
                "model's; keep the model anew."
            )
        rows = _of_length_one(features)
        k = min(NEIGHBOUR, len(self.features)) - 1
        step = max(1, _CHUNK // max(1, len(self.features)))
        distances = []
        for start in range(0, len(rows), step):
            # of vectors of length 1, the squared distance is 2 - 2 x . y: the nearest have the largest products
            products = rows[start : start + step] @ self.features.T
            products.partition(len(self.features) - 1 - k, axis=1)
            nearest = products[:, -1 - k].astype(np.float64)
            distances.append(np.sqrt(np.maximum(2 - 2 * nearest, 0)))
        return np.concatenate(distances) if distances else np.zeros(0)

    def save(self, folder: Path) -> str:
        """Write the features, as float16, into a folder; return the file's name."""
        from safetensors.numpy import save_file

        hashes = np.frombuffer(b"".join(sorted(self.trained_on)), dtype=np.uint8).reshape(-1, HASH_BYTES)
        save_file({"features": self.features.astype(np.float16), "trained_on": hashes}, folder / FILE)
        return FILE

    @classmethod
    def load(cls, folder: Path, threshold: float) -> "TrainingFeatures":
        """Read what :meth:`save` wrote; raises ``UserError`` where it can't be read."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            arrays = load_file(folder / FILE)
            features, hashes = arrays["features"], arrays["trained_on"]
            _require_sound(features, hashes)
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise UserError(f"'{folder / FILE}' can't be read ({error}); keep the model anew.") from None
        return cls(_of_length_one(features), threshold, frozenset(map(bytes, hashes)))


def _require_sound(features: npt.NDArray[Any], hashes: npt.NDArray[Any]) -> None:
    """Raise ``ValueError`` unless both have the shapes and dtypes with which they are kept."""
    if features.ndim != 2 or 0 in features.shape or features.dtype != np.float16:
        raise ValueError(f"its features have shape {features.shape} and dtype {features.dtype}")
    if not np.isfinite(features).all():
        raise ValueError("its features are not all finite")
    if hashes.shape[1:] != (HASH_BYTES,) or hashes.dtype != np.uint8:
        raise ValueError(f"its hashes of images have shape {hashes.shape} and dtype {hashes.dtype}")


def _of_length_one(features: npt.NDArray[np.floating]) -> Features:
    rows = features.astype(np.float32)
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12), dtype=np.float32)
