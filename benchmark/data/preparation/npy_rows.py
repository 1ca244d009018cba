"""A .npy file of uint8 rows that threads and processes write in blocks, and everybody maps afterwards."""

import threading
from pathlib import Path

import numpy as np
import numpy.typing as npt

Block = npt.NDArray[np.uint8]


class RowFile:
    """A file of ``count`` rows of one shape. Rows that are never written are zero, and take no space on most disks.

    Written with ordinary writes, not through a map: a first write to a mapped page costs a page fault.

    Args:
        path: of the new file.
        count: number of rows.
        shape: of a row.
        new: create it; otherwise another process has, with the same count and shape.
    """

    def __init__(self, path: Path, count: int, shape: tuple[int, ...], *, new: bool = True) -> None:
        self.path = path
        self.shape = shape
        self._lock = threading.Lock()
        self._stream = path.open("wb" if new else "rb+")
        header = {"descr": "|u1", "fortran_order": False, "shape": (count, *shape)}
        np.lib.format.write_array_header_1_0(self._stream, header)
        self._start = self._stream.tell()
        self._row_bytes = int(np.prod(shape))
        self._stream.truncate(self._start + count * self._row_bytes)

    def write(self, first: int, rows: Block) -> None:
        """Write consecutive rows from number ``first`` on; from any thread."""
        with self._lock:
            self._stream.seek(self._start + first * self._row_bytes)
            self._stream.write(np.ascontiguousarray(rows).data)
            self._stream.flush()  # a process that only helps may be ended at any time after

    def close(self, kept: npt.NDArray[np.int64] | None = None) -> None:
        """Close the file; with ``kept``, leave these rows only, in that order."""
        self._stream.close()
        if kept is None:
            return
        whole = np.load(self.path, mmap_mode="r", allow_pickle=False)
        target = self.path.with_name(f"kept-{self.path.name}")
        smaller = RowFile(target, len(kept), self.shape)
        for first in range(0, len(kept), 256):
            smaller.write(first, whole[kept[first : first + 256]])
        smaller.close()
        target.replace(self.path)
