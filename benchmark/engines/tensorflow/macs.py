"""Multiply-accumulates, counted in a traced graph by the rule that all engines share.

Convolutions and matrix products of one forward pass of one image; nothing else.
"""

import math
from typing import Any


def count_macs(graph: Any) -> int:
    """Return the multiply-accumulates per image of a ``tf.Graph`` traced with an unknown batch size.

    The unknown dimension is the batch and counts as one. Convolutions: each output value takes as many products as
    a filter has weights. Matrix products: each output value takes as many as the summed dimension is long.
    """
    return sum(_of(operation) for operation in graph.get_operations())


def _of(operation: Any) -> int:
    if operation.type == "Conv2D":
        *window, inputs, _ = _shape(operation.inputs[1])
        return _size(operation.outputs[0]) * math.prod(window) * inputs
    if operation.type == "DepthwiseConv2dNative":
        height, width, _, _ = _shape(operation.inputs[1])
        return _size(operation.outputs[0]) * height * width
    if operation.type == "Conv2DBackpropInput":  # a transposed convolution's forward pass
        height, width, outputs, _ = _shape(operation.inputs[1])
        return _size(operation.inputs[2]) * height * width * outputs
    if operation.type == "MatMul":
        left = _shape(operation.inputs[0])
        return _size(operation.outputs[0]) * left[0 if operation.get_attr("transpose_a") else 1]
    if operation.type in ("BatchMatMul", "BatchMatMulV2", "BatchMatMulV3"):
        left = _shape(operation.inputs[0])
        return _size(operation.outputs[0]) * left[-2 if operation.get_attr("adj_x") else -1]
    if operation.type == "Einsum":
        return _einsum(operation)
    return 0


def _einsum(operation: Any) -> int:
    """Count ``ab,bc->ac``: the product of the lengths of all its letters."""
    terms, _, _ = operation.get_attr("equation").decode().partition("->")
    lengths: dict[str, int] = {}
    rest = 1  # dimensions under an ellipsis
    for letters, tensor in zip(terms.split(","), operation.inputs, strict=True):
        shape = _shape(tensor)
        before, ellipsis, after = letters.partition("...")
        lengths.update(zip(before, shape, strict=False))
        lengths.update(zip(reversed(after), reversed(shape), strict=False))
        if ellipsis:
            rest = max(rest, math.prod(shape[len(before) : len(shape) - len(after)]))
    return math.prod(lengths.values()) * rest if len(operation.inputs) > 1 else 0


def _shape(tensor: Any) -> tuple[int, ...]:
    return tuple(length or 1 for length in tensor.shape.as_list())


def _size(tensor: Any) -> int:
    return math.prod(_shape(tensor))
