"""What a run leaves of spoilt test images (:mod:`benchmark.draws.corruptions`)."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict


class CorruptionFacts(BaseModel):
    """Of spoilt test images (``--corruptions``).

    Args:
        names: of the corruptions, each at five severities.
        pictures: how many were read.
        made_s: seconds in which pictures were made that were not kept yet; they count once for a data set.
        read_s: seconds in which the network read them.
        images_per_s: pictures read in a second.
        pixels_hash: SHA-256 over the first picture of each corruption and severity: rows with one hash saw one thing.
        not_kept: why no pictures are kept, so that they were made while they were read; else empty.
        reason: why there are no results; else empty.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    names: tuple[str, ...] = ()
    pictures: int = 0
    made_s: float = 0.0
    read_s: float = 0.0
    images_per_s: float | None = None
    pixels_hash: str = ""
    not_kept: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Corrupted:
    """What a network decided of spoilt test images.

    Args:
        image_ids: str, shape (M,).
        names: str, shape (K,), of the corruptions.
        decisions: int16, shape (K, 5, M): the predicted class by corruption, severity and image; -1 where the image
            was not shown.
    """

    image_ids: npt.NDArray[np.str_]
    names: npt.NDArray[np.str_]
    decisions: npt.NDArray[np.int16]
