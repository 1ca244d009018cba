"""Initial weights drawn by NumPy, alike on every framework: of new heads, and of networks trained from scratch.

The rule that a recipe names ``he``, for a network without pretrained weights:

1. Kernels of convolutions and dense layers are normal with variance 2 / fan_in (He et al. 2015). Each is a function
   of the seed and of its layer's number in the order of the forward pass, drawn in Keras's layout, so that one
   architecture starts from the same numbers in every library. A dense layer that sees a flattened feature map is
   drawn for channels last.
2. The first kernel is divided by the root mean square of the inputs that the preprocessing makes of evenly spread
   pixel values, so that inputs of 0-255 don't make every later value a hundred times as large; not where the network
   normalises its input itself.
3. The last dense layer, which gives the logits, is Glorot uniform, as in a new head: its outputs have no ReLU.
4. Biases are 0. Scales of norms are 1, the last one of a residual block too (some libraries set it to 0), and their
   offsets 0.
5. What is neither (position embeddings, layer scales, tokens) is left as the library draws it; the record says how
   many such weights there are.

With pretrained weights and a classifier that is new, the classifier alone is drawn, by step 3.
"""

import hashlib
import math

import numpy as np
import numpy.typing as npt

from backbones import RAW, Preprocessing


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
    limit = math.sqrt(6 / (inputs + outputs))
    draws = _generator(rng_seed, name).random((inputs, outputs), dtype=np.float32)
    return ((2 * draws - 1) * np.float32(limit)).astype(np.float32)


def he_normal(rng_seed: int, number: int, shape: tuple[int, ...], fan_in: int) -> npt.NDArray[np.float32]:
    """Return the kernel of a layer with ReLU, normal with variance 2 / fan_in (He et al. 2015).

    The signal then keeps its size through any number of such layers, which it does not from the Glorot uniform
    kernels that Keras draws: VGG16 without BatchNorm hardly learns from those.

    Args:
        rng_seed: the run's seed.
        number: of the layer among those drawn, in the order of the forward pass.
        shape: in Keras's layout, inputs and outputs last.
        fan_in: number of values that one output is a sum of.
    """
    draws = _generator(rng_seed, f"kernel {number}").standard_normal(shape, dtype=np.float32)
    return np.asarray(draws * np.float32(math.sqrt(2 / fan_in)))


def _generator(rng_seed: int, name: str) -> np.random.Generator:
    digest = hashlib.sha256(f"{rng_seed}/{name}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "little"))


def input_scale(preprocessing: Preprocessing) -> float:
    """Return the root mean square of what the preprocessing makes of evenly spread pixel values; see step 2.

    Where the network is fed 0-255 as they are, it normalises by itself, and the scale is 1.
    """
    if preprocessing == RAW:
        return 1.0
    levels = np.arange(256)[:, None] * preprocessing.scale
    values = (levels - np.array(preprocessing.mean)) / np.array(preprocessing.std)
    return float(np.sqrt((values**2).mean()))


def in_words(kernels: int, norms: int, others: int) -> str:
    """Return what was drawn by the rule ``he``, for the record."""
    left = f"; {others} other weights are the library's" if others else ""
    return f"he: {kernels} kernels drawn, {norms} norms at 1 and 0{left}"
