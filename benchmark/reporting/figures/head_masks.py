"""How much of a run's heat maps lies outside the head, whose mask is found in the thumbnails of the images."""

from collections.abc import Mapping
from statistics import fmean

import numpy as np

from benchmark.evaluation.head_mask import Masks, energy_outside, head_mask
from benchmark.records.record import Cams
from benchmark.reporting.board.column import Values
from benchmark.reporting.figures.overlays import grey
from benchmark.reporting.figures.when_asked import WhenAsked

OUTSIDE, OUTSIDE_UNIFORM = "cam_outside_head", "cam_outside_head_uniform"


def heads(thumbnails: Mapping[str, bytes]) -> Mapping[str, Masks]:
    """Return the heads in a data set's thumbnails, as masks by image id; an image whose head can't be told is absent.

    Args:
        thumbnails: JPEGs by image id.
    """
    return WhenAsked(thumbnails, _head)


def _head(jpeg: bytes) -> Masks | None:
    picture = grey(jpeg)
    return None if picture is None else head_mask(picture)


def head_columns(cams: Cams | None, heads: Mapping[str, Masks]) -> Values:
    """Return by column name which share of a run's maps lies outside the head, and which of a uniform map: means
    over the explained images whose head is known; empty where none is.
    """
    if cams is None:
        return {}
    pairs = [(cams.maps[i].astype(np.float32), heads.get(name)) for i, name in enumerate(cams.image_ids.tolist())]
    with_head = [(heat, head) for heat, head in pairs if head is not None]
    if not with_head:
        return {}
    return {
        OUTSIDE: fmean(energy_outside(heat, head) for heat, head in with_head),
        OUTSIDE_UNIFORM: fmean(float((~head).mean()) for _, head in with_head),
    }
