"""NumPy arrays that others wrote: read without pickle, without evaluating their headers, and within bounds."""

import hashlib
import re
from collections.abc import Mapping, MutableMapping
from math import prod
from typing import Any
from zipfile import ZipFile, ZipInfo

import numpy as np
import numpy.typing as npt

from benchmark.foreign_files import Refused, foreign_zip, packed_member, read_member

MAX_TEXT = 4096  # characters of one text in an array

# What numpy.lib.format writes (version 1.0 and 2.0), and nothing else: its own reader parses Python.
_HEADER = re.compile(
    rb"\{'descr': '([<>|=])([biufU])(\d{1,7})', 'fortran_order': (True|False), 'shape': \(([\d, ]{0,80})\), \} *\n"
)
_MOST_AXES, _LONGEST_AXIS = 4, 2**31

Known = MutableMapping[tuple[Any, ...], npt.NDArray[Any]]  # arrays by all that they were unpacked from


def read_arrays(
    data: bytes,
    kinds: Mapping[str, tuple[str, int]],
    *,
    unpacked: int,
    longest: int = MAX_TEXT,
    cache: Known | None = None,
) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of a ``.npz`` file by name.

    Args:
        data: the file.
        kinds: the kind of each array (``numpy.dtype.kind``: ``b``, ``i``, ``u``, ``f`` or ``U``) and its number of
            axes; other arrays of the file are not read.
        unpacked: the most bytes that all arrays of the file may have together.
        longest: the most characters that one text may have.
        cache: arrays that were read before; what is packed alike, by SHA-256, is not unpacked and checked again. What
            is read now is added.

    Raises:
        Refused: an array is absent, of another kind, or damaged; text is not Unicode; or they are too large.
    """
    arrays = {}
    with foreign_zip(data, members=4 * len(kinds), unpacked=unpacked) as archive:
        for name, (kind, axes) in kinds.items():
            member = f"{name}.npy"
            entries = [entry for entry in archive.infolist() if entry.filename == member]
            if len(entries) != 1:
                raise Refused(f"it has not one array '{name}'")
            array = _member(archive, entries[0], data, name, longest, cache)
            if array.dtype.kind != kind or array.ndim != axes:
                raise Refused(f"its array '{name}' is {array.dtype} with {array.ndim} axes, not {_KINDS[kind]} "
                              f"with {axes}")  # fmt: skip
            arrays[name] = array
    return arrays


def _member(
    archive: ZipFile, entry: ZipInfo, data: bytes, name: str, longest: int, cache: Known | None
) -> npt.NDArray[Any]:
    """Return the array that a member of a zip file is, that of the cache where it is packed alike."""
    packed = None if cache is None else packed_member(data, entry)
    if cache is None or packed is None:
        return _array(read_member(archive, entry), name, longest)
    way = entry.compress_type, entry.flag_bits, entry.file_size, entry.CRC, longest
    place = hashlib.sha256(packed).digest(), *way
    if place not in cache:
        cache[place] = _array(read_member(archive, entry), name, longest)
    return cache[place]


_KINDS = {"b": "truth values", "i": "whole numbers", "u": "bytes", "f": "numbers", "U": "text"}


def _array(data: bytes, name: str, longest: int) -> npt.NDArray[Any]:
    refused = Refused(f"its array '{name}' is not what NumPy writes")
    if data[:6] != b"\x93NUMPY" or data[6:8] not in (b"\x01\x00", b"\x02\x00"):
        raise refused
    width = 2 if data[6] == 1 else 4
    start = 8 + width
    length = int.from_bytes(data[8:start], "little")
    header = _HEADER.fullmatch(data[start : start + length]) if length <= 4096 else None
    if header is None:
        raise refused
    order, kind, size, fortran, sides = (part.decode("ascii") for part in header.groups())
    try:
        dtype = np.dtype(f"{order}{kind}{size}")
        shape = tuple(int(side) for side in sides.split(",") if side.strip())
    except (TypeError, ValueError):
        raise refused from None
    content = memoryview(data)[start + length :]
    if not dtype.itemsize or any(side > _LONGEST_AXIS for side in shape):
        raise refused
    if len(shape) > _MOST_AXES or prod(shape) * dtype.itemsize != len(content):
        raise Refused(f"its array '{name}' has not as many bytes as its shape {shape} says")
    if kind == "U" and dtype.itemsize > 4 * longest:
        raise Refused(f"its array '{name}' has text of more than {longest} characters")
    if not len(content):
        return np.zeros(shape, dtype=dtype.newbyteorder("="))
    if kind == "U":
        points = np.frombuffer(content, dtype=np.dtype("u4").newbyteorder(dtype.byteorder))
        if points.max() > 0x10FFFF or ((points >= 0xD800) & (points <= 0xDFFF)).any():
            raise Refused(f"its array '{name}' has text that is not Unicode")
    if kind == "b" and np.frombuffer(content, dtype=np.uint8).max() > 1:
        raise Refused(f"its array '{name}' has truth values other than 0 and 1")
    array = np.frombuffer(content, dtype=dtype)
    return array.reshape(shape, order="F" if fortran == "True" else "C").astype(dtype.newbyteorder("="))
