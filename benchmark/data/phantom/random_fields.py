"""Smooth random fields that can be evaluated on a plane, exactly, without a grid."""

import math
from dataclasses import dataclass

import numpy as np

from benchmark.data.phantom.grids import Array

BANDS = 16


@dataclass(frozen=True)
class Plane:
    """A slice in space: pixel (row, column) lies at ``corner + row * down + column * right``, in mm."""

    corner: Array  # (3,)
    down: Array  # (3,)
    right: Array  # (3,)
    size: int  # rows, and columns

    def points(self) -> Array:
        """Return the pixels' positions, shape (size * size, 3)."""
        steps = np.arange(self.size)[:, None]
        rows = steps * self.down
        columns = steps * self.right
        return (self.corner + rows[:, None] + columns[None]).reshape(-1, 3)

    def moved(self, matrix: Array) -> "Plane":
        """Return the plane that a linear map (3, 3) makes of this one."""
        return Plane(matrix @ self.corner, matrix @ self.down, matrix @ self.right, self.size)


@dataclass(frozen=True)
class Waves:
    """A sum of K plane waves with random directions and phases: a smooth field of zero mean and unit variance.

    On a plane each wave is the product of one factor for the row and one for the column, so that the whole field is
    one matrix product (for F fields at once, F of them).
    """

    vectors: Array  # (F, K, 3), radians per mm
    phases: Array  # (F, K)

    @classmethod
    def draw(
        cls, rng: np.random.Generator, shortest: float, longest: float, fields: int = 1, count: int = 32
    ) -> "Waves":
        """Draw waves of lengths between ``shortest`` and ``longest`` mm."""
        directions = rng.standard_normal((fields, count, 3))
        directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
        lengths = np.exp(rng.uniform(np.log(shortest), np.log(longest), (fields, count, 1)))
        return cls(directions * (2 * np.pi / lengths), rng.uniform(0, 2 * np.pi, (fields, count)))

    def on(self, plane: Plane) -> Array:
        """Return the fields on the plane's pixels: shape (F, size * size)."""
        steps = np.arange(plane.size)
        start = self.vectors @ plane.corner + self.phases
        rows = np.exp(1j * (start[..., None] + (self.vectors @ plane.down)[..., None] * steps))
        columns = np.exp(1j * (self.vectors @ plane.right)[..., None] * steps)
        real = np.concatenate([rows.real, -rows.imag], axis=1).transpose(0, 2, 1)
        # A few rows at a time: BLAS then stays on the calling thread, and several callers don't fight for the cores.
        few = real.reshape(len(real), -1, plane.size // math.gcd(plane.size, BANDS), real.shape[2])
        product = few @ np.concatenate([columns.real, columns.imag], axis=1)[:, None]
        return np.asarray(product.reshape(len(self.vectors), -1) * self._scale)

    def at(self, points: Array) -> Array:
        """Return the fields at ``points``, shape (N, 3): shape (F, N)."""
        return np.asarray(np.cos(self.vectors @ points.T + self.phases[..., None]).sum(axis=1) * self._scale)

    @property
    def _scale(self) -> float:
        return float(np.sqrt(2 / self.vectors.shape[1]))
