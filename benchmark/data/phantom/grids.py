"""Regular grids in millimetres: where their voxels are, and their values anywhere between."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Volume:
    """Values on a regular grid, one or more channels in each voxel.

    Args:
        values: uint8, shape (X, Y, Z, C), C-contiguous.
        origin: the centre of voxel (0, 0, 0), in mm.
        spacing: side of a voxel, in mm.
    """

    values: npt.NDArray[np.uint8]
    origin: tuple[float, float, float]
    spacing: float

    def sample(self, points: Array) -> Array:
        """Interpolate all channels at ``points``, shape (N, 3), trilinearly: float64, shape (N, C).

        Outside the grid the nearest voxel of its surface counts. Kept in float64 so that another machine's
        rounding does not reach the eight bits of the image.
        """
        shape = np.asarray(self.values.shape[:3])
        at = (points - np.asarray(self.origin)) / self.spacing
        np.clip(at, 0, shape - 1.000001, out=at)
        low = at.astype(np.int64)
        high = at - low
        strides = np.asarray([shape[1] * shape[2], shape[2], 1])
        corner = low @ strides
        flat = self.values.reshape(-1, self.values.shape[3])
        result = np.zeros((len(points), flat.shape[1]))
        for dx in (0, 1):
            wx = high[:, 0] if dx else 1 - high[:, 0]
            for dy in (0, 1):
                wxy = wx * (high[:, 1] if dy else 1 - high[:, 1])
                for dz in (0, 1):
                    weight = wxy * (high[:, 2] if dz else 1 - high[:, 2])
                    index = corner + int(dx * strides[0] + dy * strides[1] + dz)
                    result += flat.take(index, axis=0) * weight[:, None]
        return result
