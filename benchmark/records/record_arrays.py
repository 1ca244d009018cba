"""The arrays of records, read from their files: within bounds, whole, and those that are equal held once."""

from collections import ChainMap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from benchmark.foreign_arrays import Known, read_arrays
from benchmark.foreign_files import Refused
from benchmark.hashing import hash_bytes, hash_json
from benchmark.records.record import Predictions, Record
from benchmark.records.soundness import problem_with

# Bounds on what is read: predictions are a few bytes per image.
MAX_ARRAY_BYTES = 256 * 2**20  # of one file, packed and unpacked
MAX_HELD_BYTES = 2**30  # of all arrays of one folder; those that are equal in several records are held once
_MAX_KEPT_BYTES = 64 * 2**20  # of arrays that are kept in case that a further record has them too

ARRAYS, CAMS, CORRUPTED = "predictions.npz", "cams.npz", "corruptions.npz"

# The arrays of a file: their kind (numpy.dtype.kind) and number of axes.
PREDICTIONS_KINDS = {"image_ids": ("U", 1), "parts": ("U", 1), "labels": ("i", 1), "groups": ("U", 1)}
PREDICTIONS_KINDS |= {"probabilities": ("f", 2)}
CAMS_KINDS = {"image_ids": ("U", 1), "predicted": ("i", 1), "scored": ("b", 1), "maps": ("f", 3), "masks": ("u", 3)}
CAMS_KINDS |= {"mean_mask": ("f", 2)}
CORRUPTED_KINDS = {"image_ids": ("U", 1), "names": ("U", 1), "decisions": ("i", 3)}

_OF_ONE_RUN = ("seed", "split_hash", "images_hash")  # of an identity: the runs of one row may differ in it


@dataclass(frozen=True)
class Unpacked:
    """Predictions that were unpacked and are sound; to be held, they are counted first (:class:`HeldArrays`).

    Args:
        arrays: by their names in :class:`~benchmark.records.record.Predictions`.
        computed: bytes that what is computed of them takes, while the runs of one row are scored.
        row: a hash of what its runs share.
    """

    arrays: Mapping[str, npt.NDArray[Any]]
    computed: int
    row: str


class UnpackedBefore:
    """Arrays of images, which many records share, by what they were unpacked from: a bounded number of them."""

    def __init__(self) -> None:
        self.arrays: dict[tuple[Any, ...], npt.NDArray[Any]] = {}
        self._ids: set[int] = set()
        self._bytes = 0

    def __contains__(self, array: npt.NDArray[Any]) -> bool:
        """Return whether an array is kept itself."""
        return id(array) in self._ids

    def add(self, new: Mapping[tuple[Any, ...], npt.NDArray[Any]]) -> None:
        """Keep arrays, as far as there is room."""
        for place, array in new.items():
            if self._bytes + array.nbytes <= _MAX_KEPT_BYTES:
                self.arrays[place] = array
                self._ids.add(id(array))
                self._bytes += array.nbytes


def unpack_predictions(data: bytes, record: Record, before: UnpackedBefore, *, sound: bool = False) -> Unpacked:
    """Return the predictions of a record.

    Args:
        data: the content of their file.
        record: whose they are.
        before: what was unpacked of other records; arrays of images are added.
        sound: whether it is known that they are, so that this is not looked into again.

    Raises:
        Refused: they can't be read, or are not sound.
    """
    new: dict[tuple[Any, ...], npt.NDArray[Any]] = {}
    arrays = arrays_of(data, ARRAYS, PREDICTIONS_KINDS, ChainMap(new, before.arrays))
    predictions = Predictions(**arrays)
    classes = len(record.data.class_names)
    wrong = None if sound else problem_with(predictions, classes)
    if wrong:
        raise Refused(wrong)
    before.add({place: array for place, array in new.items() if array is not predictions.probabilities})
    own = {field: value for field, value in record.identity.items() if field not in _OF_ONE_RUN}
    computed = len(predictions.labels) * classes**2 * 8
    return Unpacked(arrays, computed, hash_json(own))  # whatever the order of its fields


def arrays_of(
    data: bytes, file: str, kinds: Mapping[str, tuple[str, int]], cache: Known | None = None
) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of a file by name; raises ``Refused`` with what the file is."""
    try:
        return read_arrays(data, kinds, unpacked=MAX_ARRAY_BYTES, cache=cache)
    except Refused as refused:
        raise Refused(f"its {file.partition('.')[0]} can't be read ({refused})") from None


class HeldArrays:
    """Arrays that are held at once: counted, and those that are equal in several records held once."""

    def __init__(self) -> None:
        self._places: dict[int, tuple[str, tuple[int, ...], str]] = {}
        self._arrays: dict[tuple[str, tuple[int, ...], str], npt.NDArray[Any]] = {}
        self._bytes = 0
        self._computed: dict[str, int] = {}

    def predictions(self, unpacked: Unpacked) -> Predictions:
        """Return predictions, each array the one that is held already where there is an equal one.

        Raises:
            Refused: all together would be too large.
        """
        arrays = unpacked.arrays
        keys = {name: self._place(array) for name, array in arrays.items()}
        more = sum(arrays[name].nbytes for name, key in keys.items() if key not in self._arrays)
        of_row = self._computed.get(unpacked.row, 0) + unpacked.computed
        if self._bytes + more + of_row > MAX_HELD_BYTES:
            raise Refused(
                f"the records before it fill the {MAX_HELD_BYTES // 2**20} MiB that are read of one folder; "
                "move some of them to another"
            )
        self._bytes += more
        self._computed[unpacked.row] = of_row
        shared = {name: self._arrays.setdefault(key, arrays[name]) for name, key in keys.items()}
        self._places |= {id(shared[name]): key for name, key in keys.items()}
        return Predictions(**shared)

    def _place(self, array: npt.NDArray[Any]) -> tuple[str, tuple[int, ...], str]:
        """Return kind, shape and hash of an array, which is not hashed again where it is held itself."""
        return self._places.get(id(array)) or (array.dtype.str, array.shape, hash_bytes(array.tobytes()))
