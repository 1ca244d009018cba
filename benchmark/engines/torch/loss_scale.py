"""The scale by which a loss of float16 is multiplied, in an engine's state."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

_PREFIX = "scaler/"
_NAMES = ("scale", "_growth_tracker")  # of what torch's scaler holds, what changes


def scale_state(scaler: torch.amp.GradScaler | None) -> dict[str, npt.NDArray[Any]]:
    """Return the scale, and the steps since it last changed, as float64 scalars by name; nothing without a scaler."""
    if scaler is None:
        return {}
    values = scaler.state_dict()
    return {_PREFIX + name: np.array(values[name], dtype=np.float64) for name in _NAMES}


def without_scale(state: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    """Return what else is in an engine's state."""
    return {name: value for name, value in state.items() if not name.startswith(_PREFIX)}


def load_scale(scaler: torch.amp.GradScaler | None, state: Mapping[str, npt.NDArray[Any]]) -> None:
    """Put what :func:`scale_state` returned back into a scaler, where both are there."""
    values = {name: state[_PREFIX + name].item() for name in _NAMES if _PREFIX + name in state}
    if values and scaler is not None:
        values["_growth_tracker"] = int(values["_growth_tracker"])
        scaler.load_state_dict({**scaler.state_dict(), **values})
