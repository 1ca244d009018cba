"""Which stages a recipe freezes, and what of them may be kept. The same rule on every engine."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmark.errors import nearest
from benchmark.records.outcomes import Outcome, RunFailure

# Largest difference of a row that is computed again, as a share of its largest value: batches of another size take
# other kernels. It is far above their difference, and below any other.
TOLERANCE = {"float64": 1e-4, "float32": 1e-4, "float16": 2e-2, "bfloat16": 5e-2}


def first_trainable(wanted: str, names: Sequence[str]) -> int:
    """Return the number of the first stage that a recipe's ``trainable_from`` leaves trainable.

    Where no stage has that very name, it is the first of those whose names go on from it: ``layer4`` is the first of
    ``layer4.0``, ``layer4.1`` ..., ``conv5`` of ``conv5_block1_out``, ``conv5_block2_out`` ...

    Raises:
        RunFailure: ``unsupported`` where there is no such stage, named with those that there are.
    """
    if wanted == "all":
        return 0
    if wanted == "head":
        return len(names) - 1
    if wanted in names:
        return list(names).index(wanted)
    for number, name in enumerate(names):
        if name.startswith((f"{wanted}.", f"{wanted}_")):
            return number
    raise RunFailure(
        Outcome.UNSUPPORTED,
        f"There is no stage '{wanted}' to train from.{nearest(wanted, list(names))} There are {', '.join(names)}.",
    )


def agree(rows: npt.NDArray[Any], again: npt.NDArray[Any], tolerance: float) -> bool:
    """Return whether rows are what was computed again, to within a share of the largest value."""
    scale = max(float(np.nanmax(np.abs(again), initial=0.0)), 1e-6)
    return bool(np.allclose(rows, again, rtol=0, atol=tolerance * scale, equal_nan=True))


def hash_of_weights(named: Iterable[tuple[str, npt.NDArray[Any]]]) -> str:
    """Return the SHA-256 over names, shapes, types and values of weights, in order."""
    digest = hashlib.sha256()
    for name, value in named:
        digest.update(f"{name} {value.dtype} {value.shape}\n".encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()
