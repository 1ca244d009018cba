"""Random draws as functions of (seed, epoch, step, image id): no generator has a state to save or to lose.

Resuming a run, or running it in a reused worker, restores nothing; every framework sees the same draws.
"""

import hashlib

import numpy as np
import numpy.typing as npt

UInt64s = npt.NDArray[np.uint64]


def _mix(values: UInt64s) -> UInt64s:
    """SplitMix64's finaliser (Steele, Lea & Flood 2014): a bijection of 64-bit integers that looks random."""
    with np.errstate(over="ignore"):
        values = values + np.uint64(0x9E3779B97F4A7C15)
        values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(values ^ (values >> np.uint64(31)))


def image_numbers(image_ids: npt.NDArray[np.str_]) -> UInt64s:
    """Return a stable 64-bit number for each image id; shape (N,)."""
    digests = b"".join(hashlib.blake2b(str(name).encode(), digest_size=8).digest() for name in image_ids)
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64)


def draw(numbers: UInt64s, *keys: int) -> UInt64s:
    """Return 64 random bits for each of ``numbers``, in their shape: a function of the number and the keys alone."""
    key = np.zeros(1, dtype=np.uint64)
    for part in keys:
        key = _mix(key ^ np.uint64(part % 2**64))
    return _mix(numbers ^ key)


def epoch_order(numbers: UInt64s, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """Return a permutation of range(N): the order in which the images with these numbers are seen."""
    return np.argsort(draw(numbers, seed, epoch), kind="stable").astype(np.int64)


def part_seed(seed: int, part: int) -> int:
    """Return the seed (31 bits) of one part of a batch: the step's own for the first."""
    return seed if part == 0 else int(draw(np.array([part], dtype=np.uint64), seed, 0x9A47)[0] >> np.uint64(33))


def step_seed(seed: int, step: int) -> int:
    """Return the seed (31 bits) of what is random inside the network in one step."""
    return int(draw(np.array([step], dtype=np.uint64), seed, 0x5EED)[0] >> np.uint64(33))
