"""Values of torch tensors, copied out and put back."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


def copied(tensor: Tensor) -> npt.NDArray[Any]:
    """Return a copy of a tensor's values on the host."""
    return np.array(tensor.detach().cpu().contiguous().numpy())


def fill(tensors: Mapping[str, Tensor], values: Mapping[str, npt.NDArray[Any]]) -> None:
    """Give each tensor the values of its name."""
    with torch.no_grad():
        for name, tensor in tensors.items():
            tensor.copy_(torch.from_numpy(np.array(values[name])))
