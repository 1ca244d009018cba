"""Initial weights of new layers, drawn by NumPy: alike on every framework."""

import hashlib
import math

import numpy as np
import numpy.typing as npt


def glorot_uniform(rng_seed: int, name: str, shape_in_out: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Return a dense layer's kernel, uniform in +-sqrt(6 / (in + out)) (Glorot & Bengio 2010).

    Args:
        rng_seed: the run's seed.
        name: of the layer (``dense`` or ``logits``); layers of one network draw independently.
        shape_in_out: numbers of inputs and outputs.

    Returns:
        float32, shape (in, out), Keras's layout; torch's ``weight`` is its transpose. Biases start at zero.
    """
    inputs, outputs = shape_in_out
    digest = hashlib.sha256(f"{rng_seed}/{name}".encode()).digest()
    limit = math.sqrt(6 / (inputs + outputs))
    draws = np.random.default_rng(int.from_bytes(digest[:16], "little")).random((inputs, outputs), dtype=np.float32)
    return ((2 * draws - 1) * np.float32(limit)).astype(np.float32)
