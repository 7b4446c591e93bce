"""The sum of Gaussian kernels: its density, slope and mass, its peaks and what lies above a level.

Everything here is on the kernels' own scale: a location is counted in bandwidths, and a density
per bandwidth.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from ..arrays import Array, np, special

__all__ = ["Kernels", "roots"]

#: Farther away a kernel adds less than a float notices.
_REACH = 9.0
#: Steps from one point of the grid to the next, in bandwidths: no hill is narrower than one.
_STEP = 0.25
#: How many distances are worked on at a time.
_WORK = 1 << 16
#: So few distances are taken without asking which are near.
_FEW = 1 << 13
_ROOT = math.sqrt(2 * math.pi)


class Kernels:
    """The mean of a normal density with standard deviation 1 around every value."""

    def __init__(self, values: Array) -> None:
        """Keep the values, which are sorted."""
        self.values = values

    # What it is somewhere

    def _near(self, points: Array) -> Iterator[tuple[slice, Array, int]]:
        """Yield a few sorted points at a time, and their distances from the values around them.

        With them comes how many values lie below all that are around.
        """
        if len(points) * len(self.values) <= _FEW:
            yield slice(None), points[:, None] - self.values, 0
            return
        low = np.searchsorted(self.values, points - _REACH)
        high = np.searchsorted(self.values, points + _REACH, side="right")
        begin = 0
        while begin < len(points):
            # Points a few bandwidths apart share the values around them.
            end = int(np.searchsorted(points, points[begin] + 4, side="right"))
            first, last = int(low[begin]), int(high[end - 1])
            if last > first:
                end = min(end, begin + max(1, _WORK // (last - first)))
                last = int(high[end - 1])
            where = slice(begin, end)
            for at in range(first, last, _WORK):
                yield where, points[where, None] - self.values[at : min(at + _WORK, last)], first
            begin = end

    def density(self, points: Array) -> Array:
        """Return the density at sorted points."""
        found = np.zeros(len(points))
        for where, distances, _ in self._near(points):
            np.square(distances, out=distances)
            distances *= -0.5
            np.exp(distances, out=distances)
            found[where] += distances.sum(axis=1)
        return found / (len(self.values) * _ROOT)

    def slopes(self, points: Array) -> tuple[Array, Array, Array]:
        """Return the density and its first and second derivative at points."""
        order = np.argsort(points)
        found = np.zeros((3, len(points)))
        for where, distances, _ in self._near(points[order]):
            squares = np.square(distances)
            kernels = np.exp(-0.5 * squares)
            found[0, where] += kernels.sum(axis=1)
            found[1, where] -= np.einsum("ij,ij->i", distances, kernels)
            found[2, where] += np.einsum("ij,ij->i", squares, kernels)
        found[2] -= found[0]
        found /= len(self.values) * _ROOT
        sorted_back = np.empty_like(found)
        sorted_back[:, order] = found
        return sorted_back[0], sorted_back[1], sorted_back[2]

    def bends(self, points: Array) -> tuple[Array, Array]:
        """Return the second and the third derivative at sorted points."""
        found = np.zeros((2, len(points)))
        for where, distances, _ in self._near(points):
            squares = np.square(distances)
            kernels = np.exp(-0.5 * squares)
            found[0, where] += np.einsum("ij,ij->i", squares - 1, kernels)
            kernels *= distances
            found[1, where] += np.einsum("ij,ij->i", 3 - squares, kernels)
        found /= len(self.values) * _ROOT
        return found[0], found[1]

    def below(self, points: Array) -> Array:
        """Return the mass below sorted points."""
        whole = np.searchsorted(self.values, points - _REACH).astype(np.float64)
        found = np.zeros(len(points))
        for where, distances, first in self._near(points):
            found[where] += special.ndtr(distances).sum(axis=1)
            whole[where] = first
        return (found + whole) / len(self.values)

    # Where it is what

    def hills(self) -> tuple[Array, Array]:
        """Return points wherever there is density, every top and bottom among them, and how much.

        Between two neighbours the density only rises or only falls.
        """
        per_cell = round(1 / _STEP)
        cells = np.unique(np.floor(self.values))
        # From every value as far as its kernel reaches; what is empty between is left out.
        around = np.arange(-_REACH, _REACH + 1)
        cells = np.unique((cells[:, None] + around).ravel())
        points = (cells[:, None] + np.arange(per_cell) * _STEP).ravel()
        densities, slopes, bends = self.slopes(points)
        floor = 1e-9 * densities.max()

        # A slope may pass zero twice within a step: between, it is nearest to zero or beyond.
        left, right = slopes[:-1], slopes[1:]
        near = (np.diff(points) <= _STEP) & (np.maximum(densities[:-1], densities[1:]) > floor)
        dips = near & (left * right > 0) & (left * bends[:-1] < 0) & (right * bends[1:] > 0)
        at = np.flatnonzero(dips)
        if len(at):
            found = roots(lambda x, _: self.bends(x), points[at], points[at + 1], left[at] > 0)
            points, order = np.unique(np.concatenate([points, found]), return_index=True)
            densities, slopes = (
                np.concatenate(pair)[order]
                for pair in zip((densities, slopes), self.slopes(found)[:2], strict=True)
            )

        rises = slopes > 0
        turns = np.flatnonzero(
            (rises[:-1] != rises[1:]) & (np.maximum(densities[:-1], densities[1:]) > floor)
        )
        places = roots(
            lambda x, _: self.slopes(x)[1:], points[turns], points[turns + 1], ~rises[turns]
        )
        points, order = np.unique(np.concatenate([points, places]), return_index=True)
        return points, np.concatenate([densities, self.density(places)])[order]

    def half(self, points: Array, densities: Array, top: int) -> tuple[float, float]:
        """Return where the density first falls to half, to both sides of the top."""
        level = float(densities[top]) / 2
        low = high = top
        while densities[low] > level:
            low -= 1
        while densities[high] > level:
            high += 1
        places = self._crossings(points, densities, np.array([low, high - 1]), level)
        return float(places[0]), float(places[1])

    def region(
        self, points: Array, densities: Array, mass: float
    ) -> tuple[list[tuple[float, float]], float, float]:
        """Return where the density is above a level, which is so that `mass` lies there.

        The level, and the mass that really lies there, come after the intervals.
        """
        widths = np.minimum(np.diff(points, append=points[-1]), _STEP)
        order = np.argsort(-densities, kind="stable")
        held = np.cumsum((densities * widths)[order])
        low, high = 0.0, float(densities.max())
        ends, found = points[:0], 0.0
        level = float(densities[order[min(int(np.searchsorted(held, mass)), len(order) - 1)]])
        for _ in range(100):
            if not low < level < high:
                level = (low + high) / 2
            above = densities > level
            before = np.flatnonzero(above[1:] != above[:-1])
            ends = self._crossings(points, densities, before, level)
            masses = self.below(ends)
            found = float((masses[1::2] - masses[::2]).sum())
            low, high = (level, high) if found > mass else (low, level)
            if abs(found - mass) <= 1e-13 or high - low <= 4e-16 * high:
                break
            # How much mass goes when the level rises a little.
            lost = level * float((1 / np.maximum(np.abs(self.slopes(ends)[1]), 1e-300)).sum())
            level += (found - mass) / lost
        intervals = list(zip(ends[::2].tolist(), ends[1::2].tolist(), strict=True))
        return intervals, level, found

    def _crossings(self, points: Array, densities: Array, before: Array, level: float) -> Array:
        """Return where the density passes a level after some of the points."""
        low, high = points[before], points[before + 1]
        # A straight line through the logarithms leads near.
        logs = np.log(np.maximum(densities, 1e-300))
        rise = logs[before + 1] - logs[before]
        share = (math.log(level) - logs[before]) / np.where(rise == 0, 1, rise)

        def above(places: Array, _: Array) -> tuple[Array, Array]:
            density, slope, _ = self.slopes(places)
            return density - level, slope

        return roots(above, low, high, rise > 0, low + np.clip(share, 0, 1) * (high - low))


def roots(
    function: Callable[[Array, Array], tuple[Array, Array]],
    low: Array,
    high: Array,
    rising: Array,
    start: Array | None = None,
) -> Array:
    """Return where a function, rising or falling, is zero in each of many brackets.

    Found to the last digits, by Newton's method, and by bisection where it leads out of the bracket
    (W. H. Press et al., Numerical Recipes, 3rd edition, 2007, section 9.4).

    Args:
        function: takes places and the numbers of their brackets; returns values and slopes.
        low, high: the brackets.
        rising: in which of them the function rises.
        start: where to begin; in the middle, when None.
    """
    found = (low + high) / 2 if start is None else start.copy()
    active, places = np.arange(len(found)), found.copy()
    for _ in range(100):
        value, slope = function(places, active)
        under = (value < 0) == rising
        low, high = np.where(under, places, low), np.where(under, high, places)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            moved = places - value / slope
        moved = np.where((moved >= low) & (moved <= high), moved, (low + high) / 2)
        moved = np.where(value == 0, places, moved)
        found[active] = moved
        going = np.abs(moved - places) > 4e-15 * np.maximum(np.abs(places), 1)
        if not going.any():
            break
        active, places = active[going], moved[going]
        low, high, rising = low[going], high[going], rising[going]
    return found
