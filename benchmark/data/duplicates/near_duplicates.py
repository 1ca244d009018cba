"""Near-duplicates: the same slice, or the next one, brighter, shifted a little, stored anew, mirrored or turned.

The rule, on thumbnails of 32 x 32 pixels in grey (they do not depend on the size that is trained on):

1. Perceptual hash: the 8 x 8 lowest coefficients of the discrete cosine transform, each above or below their
   median (64 bits; the "pHash" of Zauner 2010). Pairs that differ in at most 12 bits are candidates.
2. Pixel correlation of the two thumbnails of at least 0.975.

Both are also tried with one image mirrored, upside down, and turned by 180 degrees. On 7,019 slices of a public set
that were compared all with all, step 1 lost 1 % of the pairs that pass step 2, and step 2 joined no two images
of different classes except four turned ones, which show the same slice under two labels.
"""

import contextlib
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmark.atomic_files import written_file
from benchmark.data.dataset import DataSet
from benchmark.data.preparation.pixels import THUMBNAIL, resized
from benchmark.data.preparation.threads import thread_map
from benchmark.ownership import PRIVATE_FILE, other_writers

MAX_BITS = 12
MIN_CORRELATION = 0.975
TURNS = ("", "mirrored", "upside down", "turned by 180 degrees")
RULE = (
    f"64-bit perceptual hash within {MAX_BITS} bits, then correlation of {THUMBNAIL} px thumbnails of at least "
    f"{MIN_CORRELATION}; also mirrored, upside down and turned by 180 degrees"
)
_UNREADABLE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)
_VERSION = 1  # raised by hand when the rule changes: found pairs are kept on disk
_BLOCK = 1024  # images that are looked at at once
_ROWS, _COLUMNS = 256, 8192  # of a tile of the comparison of all with all; sized for the processor's cache

Images = npt.NDArray[np.uint8]
Words = npt.NDArray[np.uint64]
Positions = npt.NDArray[np.int64]


@dataclass(frozen=True)
class NearPairs:
    """Pairs of near-duplicates; of identical images only the first stands for all.

    Args:
        first, second: int64, shape (P,), positions with ``first < second``, in ascending order.
        correlation: float32, shape (P,).
        turn: int64, shape (P,), indices into ``TURNS``.
    """

    first: Positions
    second: Positions
    correlation: npt.NDArray[np.float32]
    turn: Positions

    def __len__(self) -> int:
        return len(self.first)


def are_known(data: DataSet) -> bool:
    """Whether a data set's near-duplicates are kept beside it, so that :func:`near_duplicates` takes no time."""
    return data.folder is not None and _kept_in(data.folder).is_file()


def near_duplicates(data: DataSet) -> NearPairs:
    """Return the near-duplicates of a data set, computed once and kept beside its prepared images."""
    kept = _kept_in(data.folder) if data.folder else None
    if kept is not None and not other_writers(kept):
        # not there, or damaged: found anew
        with contextlib.suppress(*_UNREADABLE), np.load(kept, allow_pickle=False) as stored:
            return NearPairs(*(stored[name] for name in ("first", "second", "correlation", "turn")))
    thumbnails = thumbnails_of(data)
    alone = np.unique(data.identical, return_index=True)[1]
    pairs = find_pairs(thumbnails, np.sort(alone).astype(np.int64))
    if kept is not None:
        # a cache that can't be written costs time the next time, and nothing else
        with (
            contextlib.suppress(OSError),
            written_file(kept, PRIVATE_FILE) as unfinished,
            unfinished.open("wb") as stream,
        ):
            np.savez(stream, first=pairs.first, second=pairs.second, correlation=pairs.correlation, turn=pairs.turn)
    return pairs


def _kept_in(folder: Path) -> Path:
    return folder.parent / f"near-{_VERSION}.npz"


def thumbnails_of(data: DataSet) -> npt.NDArray[np.uint8]:
    """Return a data set's thumbnails, uint8 of shape (N, 32, 32); made here where it has none, being in memory."""
    if data.thumbnails is not None:
        return data.thumbnails
    grey = [resized(image, THUMBNAIL, "squash").mean(axis=2).astype(np.uint8) for image in data.pixels]
    return np.stack(grey)


def find_pairs(thumbnails: npt.NDArray[np.uint8], positions: Positions) -> NearPairs:
    """Compare the thumbnails at ``positions``, all with all.

    Args:
        thumbnails: uint8, shape (N, 32, 32).
        positions: ascending.
    """
    images = np.asarray(thumbnails[positions])
    compared = _Compared.of(images)
    spectrum = _spectrum(images)
    hashes = _hashes(spectrum)
    by_turn = []
    for turn in range(len(TURNS)):
        turned_hashes = hashes if turn == 0 else _hashes(spectrum * _signs(turn))
        by_turn.append(_pairs_of_turn(hashes, turned_hashes, compared, turn))
    first, second, correlation, which = (np.concatenate(columns) for columns in zip(*by_turn, strict=True))
    # a pair that passes in several positions is kept once, as what it resembles most
    order = np.lexsort((-correlation, second, first))
    first, second, correlation, which = (column[order] for column in (first, second, correlation, which))
    fresh = np.ones(len(first), dtype=bool)
    fresh[1:] = (first[1:] != first[:-1]) | (second[1:] != second[:-1])
    return NearPairs(positions[first[fresh]], positions[second[fresh]], correlation[fresh], which[fresh])


@dataclass(frozen=True)
class _Compared:
    """Images with what their correlations need; a byte a pixel, so that many fit into memory.

    Args:
        values: int8, shape (N, 32, 32), grey less 128: products of two images then add up exactly in float32.
        mean: float64, shape (N,).
        length: float64, shape (N,), of the image less its mean, as a vector; infinite for constant images.
    """

    values: npt.NDArray[np.int8]
    mean: npt.NDArray[np.float64]
    length: npt.NDArray[np.float64]

    @classmethod
    def of(cls, images: Images) -> "_Compared":
        values = (images ^ np.uint8(128)).view(np.int8)
        mean, spread = np.empty(len(images)), np.empty(len(images))
        for k in range(0, len(images), _BLOCK):
            flat = values[k : k + _BLOCK].reshape(-1, THUMBNAIL * THUMBNAIL).astype(np.float64)
            mean[k : k + _BLOCK], spread[k : k + _BLOCK] = flat.mean(axis=1), flat.std(axis=1)
        return cls(values, mean, np.where(spread > 0, spread * THUMBNAIL, np.inf))

    def correlation(self, first: Positions, second: Positions, turn: int) -> npt.NDArray[np.float32]:
        """Return the correlation of images with others that are mirrored (1), upside down (2) or both (3)."""
        down, across = -1 if turn & 2 else 1, -1 if turn & 1 else 1
        correlations = np.empty(len(first), dtype=np.float32)
        for k in range(0, len(first), _BLOCK):
            a, b = first[k : k + _BLOCK], second[k : k + _BLOCK]
            turned = self.values[b, ::down, ::across].astype(np.float32)
            products = np.einsum("ijk,ijk->i", self.values[a].astype(np.float32), turned)
            products = products - THUMBNAIL**2 * self.mean[a] * self.mean[b]
            correlations[k : k + _BLOCK] = products / (self.length[a] * self.length[b])
        return correlations


def _spectrum(images: Images) -> npt.NDArray[np.float32]:
    """Return the 8 x 8 lowest coefficients of the discrete cosine transform: shape (N, 8, 8)."""
    from scipy.fft import dctn

    blocks = [
        dctn(images[k : k + _BLOCK].astype(np.float32), axes=(1, 2), norm="ortho")[:, :8, :8].copy()
        for k in range(0, len(images), _BLOCK)
    ]
    return np.concatenate(blocks) if blocks else np.empty((0, 8, 8), np.float32)


def _signs(turn: int) -> npt.NDArray[np.float32]:
    """Return what turning an image multiplies its coefficients with: odd ones along a turned axis change sign."""
    odd = np.where(np.arange(8) % 2, -1, 1).astype(np.float32)
    rows = odd if turn & 2 else np.ones(8, np.float32)
    columns = odd if turn & 1 else np.ones(8, np.float32)
    return np.outer(rows, columns)


def _hashes(spectrum: npt.NDArray[np.float32]) -> Words:
    """Return perceptual hashes of 64 bits. The first coefficient is the brightness and does not enter the median."""
    flat = spectrum.reshape(len(spectrum), 64)
    bits = flat > np.median(flat[:, 1:], axis=1, keepdims=True)
    return np.packbits(bits, axis=1).view(np.uint64).ravel()


def _pairs_of_turn(
    hashes: Words, turned_hashes: Words, images: _Compared, turn: int
) -> tuple[Positions, Positions, npt.NDArray[np.float32], Positions]:
    """Compare each image with each later one that is turned; a turn is its own inverse, so that is all pairs."""
    n = len(hashes)
    tiles = [(row, column) for row in range(0, n, _ROWS) for column in range(row - row % _COLUMNS, n, _COLUMNS)]

    def search(tile: tuple[int, int]) -> tuple[Positions, Positions, npt.NDArray[np.float32]]:
        row, column = tile
        differing = np.bitwise_count(
            hashes[row : row + _ROWS, None] ^ turned_hashes[None, column : column + _COLUMNS]
        )
        near_rows, near_columns = np.nonzero(differing <= MAX_BITS)
        first, second = near_rows + row, near_columns + column
        later = second > first
        first, second = first[later], second[later]
        correlation = images.correlation(first, second, turn)
        passed = correlation >= MIN_CORRELATION
        return first[passed], second[passed], correlation[passed]

    pairs = thread_map(search, tiles)
    if not pairs:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32), np.empty(0, np.int64)
    first, second, correlation = (np.concatenate(columns) for columns in zip(*pairs, strict=True))
    return first, second, correlation, np.full(len(first), turn, dtype=np.int64)
