"""What is known of a source's images beside their pixels: kept once per source, whatever the size."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmark.data.dataset import Labels
from benchmark.data.patients import ALONE, kept_apart, names_note
from benchmark.data.sources.base import Item, Source, SourceFacts

# arrays of a data set, and the field of an item that each is made of
_OPTIONAL = {
    "parts": "part",
    "groups": "group",
    "planes": "plane",
    "scanners": "scanner",
    "thicknesses": "thickness",
    "sources": "source",
    "folds": "fold",
}
_TYPES = {"folds": np.int64, "thicknesses": np.float64}
_UNKNOWN = {"planes": "", "scanners": "", "sources": "", "thicknesses": np.nan}  # of those known of some images


Index = dict[str, Any]  # the fields of a data set by name, but those of one size: pixels, masks and folder
_ARRAYS = ("image_ids", "labels", "identical", "hashes", "native_sizes", *_OPTIONAL)
_FACTS = (*(field.name for field in fields(SourceFacts)), "grouping", "fingerprint", "source")


def make_index(
    source: Source,
    items: Sequence[Item],
    *,
    spec: str,
    hashes: npt.NDArray[np.uint8],
    native_sizes: Labels,
    skipped: tuple[str, ...],
) -> Index:
    """Make the index of decoded images: labels, clusters of identical images, the fingerprint.

    Args:
        source, items: the images.
        spec: what the user called the source.
        hashes, native_sizes, skipped: see :class:`~benchmark.data.dataset.DataSet`.
    """
    items, patient_notes = _with_every_patient(items)
    notes = (*source.facts.notes, *patient_notes, *names_note(items))
    if skipped:
        notes += (f"{len(skipped)} unreadable images were left out",)
    ids, names = [item.image_id for item in items], [item.class_name for item in items]
    return {
        **vars(replace(source.facts, notes=notes)),
        "grouping": kept_apart([item.group for item in items if item.group is not None]),
        "fingerprint": fingerprint(ids, names, hashes[:, 1]),
        "source": spec,
        "image_ids": np.array(ids),
        "labels": np.array([source.facts.class_names.index(name) for name in names], dtype=np.int64),
        "identical": identical_clusters(hashes),
        "hashes": hashes,
        "native_sizes": native_sizes,
        **_optional(items),
        "skipped": skipped,
    }


def is_grey(pixels: npt.NDArray[np.uint8]) -> bool:
    """Return whether an image of shape (H, W) or (H, W, 3) has no colour: equal channels, or one."""
    if pixels.ndim == 2:
        return True
    # each byte beside the next one, but for a pixel's last: faster by up to three times than a channel at a time
    lines = np.ascontiguousarray(pixels).reshape(len(pixels), 3 * pixels.shape[1])
    differ = lines[:, :-1] ^ lines[:, 1:]
    differ &= _within_a_pixel(pixels.shape[1])
    return not differ.any()


@lru_cache(maxsize=16)
def _within_a_pixel(width: int) -> npt.NDArray[np.uint8]:
    """Return 255 for each byte of a line of RGB pixels whose next one belongs to the same pixel, 0 for the others."""
    return np.tile(np.array([255, 255, 0], dtype=np.uint8), width)[:-1]


def hash_pixels(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Return the SHA-256 of native pixels with their shape; grey stored as RGB equals grey."""
    return hash_grey_or_colour(pixels[:, :, 0] if pixels.ndim == 3 and is_grey(pixels) else pixels)


def hash_grey_or_colour(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Return what :func:`hash_pixels` does for an image that is of shape (H, W) where it has no colour."""
    digest = hashlib.sha256(repr(pixels.shape).encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.digest()


def fingerprint(ids: Sequence[str], class_names: Sequence[str], pixel_hashes: npt.NDArray[np.uint8]) -> str:
    """Return the SHA-256 over image ids, each image's class and native pixels, in the order of the ids."""
    digest = hashlib.sha256()
    for k in sorted(range(len(ids)), key=ids.__getitem__):
        digest.update(json.dumps([ids[k], class_names[k]]).encode())
        digest.update(pixel_hashes[k].tobytes())
    return digest.hexdigest()


def identical_clusters(hashes: npt.NDArray[np.uint8]) -> Labels:
    """Return a number for each image, the same for images of equal bytes or equal native pixels.

    Equal bytes decode to equal pixels, so the pixels decide.

    Args:
        hashes: uint8, shape (N, 2, 32): SHA-256 of bytes and of pixels.

    Returns:
        int64, shape (N,): position of the cluster's first image.
    """
    pixels = np.ascontiguousarray(hashes[:, 1]).view("V32").ravel()
    _, first, inverse = np.unique(pixels, return_index=True, return_inverse=True)
    return np.asarray(first[inverse], dtype=np.int64)


def _optional(items: Sequence[Item]) -> dict[str, npt.NDArray[Any]]:
    """Return parts, groups and folds, each where it is known of every image, and planes, scanners, thicknesses and
    sources, each where it is known of some.
    """
    arrays: dict[str, npt.NDArray[Any]] = {}
    for name, field in _OPTIONAL.items():
        values = [getattr(item, field) for item in items]
        if name in _UNKNOWN and any(value is not None for value in values):
            values = [_UNKNOWN[name] if value is None else value for value in values]
        if all(value is not None for value in values):
            arrays[name] = np.array(values, dtype=_TYPES.get(name, np.str_))
    return arrays


def _with_every_patient(items: Sequence[Item]) -> tuple[list[Item], tuple[str, ...]]:
    """Return the items with a patient each where any has one, and a note on those that had none."""
    alone = [item for item in items if item.group is None]
    if not alone or len(alone) == len(items):
        return list(items), ()
    grouped = [replace(item, group=item.group or f"{ALONE}{item.image_id}") for item in items]
    return grouped, (f"the patients of {len(alone)} images are unknown: their near-duplicates are kept together",)


def save_index(index: Index, folder: Path) -> None:
    """Write an index, or all fields of a data set, into an empty folder; thumbnails are written when images are."""
    np.savez(folder / "arrays.npz", **{name: index[name] for name in _ARRAYS if index.get(name) is not None})
    facts = {name: index[name] for name in _FACTS}
    text = json.dumps({"facts": facts, "skipped": index["skipped"]}, indent=1)
    (folder / "facts.json").write_text(text, encoding="utf-8")


def load_index(folder: Path) -> Index:
    """Read what :func:`save_index` wrote; raises ``OSError``, ``ValueError`` or ``KeyError`` where it can't."""
    kept = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    facts = {**kept["facts"], "skipped": kept["skipped"]}
    index = {name: tuple(value) if isinstance(value, list) else value for name, value in facts.items()}
    with np.load(folder / "arrays.npz", allow_pickle=False) as arrays:
        index |= {name: arrays[name] for name in arrays.files}
    index["thumbnails"] = np.load(folder / "thumbnails.npy", mmap_mode="r", allow_pickle=False)
    return index
