"""The sum of Gaussian kernels: its density, slope and mass, its peaks and what lies above a level.

Everything here is on the kernels' own scale: a location is counted in bandwidths, and a density
per bandwidth.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from ..arrays import Array, np, special

__all__ = ["Kernels", "kernel_sums", "roots"]

#: Farther away a kernel adds less than a float notices.
_REACH = 9.0
#: Steps from one point of the grid to the next, in bandwidths: no hill is narrower than one.
_STEP = 0.25
#: How many distances are worked on at a time.
_WORK = 1 << 14
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
        return self.derivatives(points, 0)[0]

    def derivatives(self, points: Array, order: int) -> Array:
        """Return the density at sorted points, a row, and its derivatives up to one of them."""
        found = np.zeros((order + 1, len(points)))
        for where, distances, _ in self._near(points):
            found[:, where] += kernel_sums(distances, order)
        found /= len(self.values) * _ROOT
        return found

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
        densities, slopes, bends = self.derivatives(points, 2)
        floor = 1e-9 * densities.max()

        # A slope may pass zero twice within a step: between, it is nearest to zero or beyond.
        left, right = slopes[:-1], slopes[1:]
        near = (np.diff(points) <= _STEP) & (np.maximum(densities[:-1], densities[1:]) > floor)
        dips = near & (left * right > 0) & (left * bends[:-1] < 0) & (right * bends[1:] > 0)
        at = np.flatnonzero(dips)
        # Between, a slope changes about as fast as at the ends: too far from zero, it stays there.
        reach = left[at] / bends[at] - right[at] / bends[at + 1]
        at = at[np.abs(reach) <= 2 * _STEP]
        if len(at):
            found = roots(
                lambda x, _: self.derivatives(x, 4)[2:], points[at], points[at + 1], left[at] > 0
            )
            points, order = np.unique(np.concatenate([points, found]), return_index=True)
            seen = np.concatenate([(densities, slopes), self.derivatives(found, 1)], axis=1)
            densities, slopes = seen[:, order]

        rises = slopes > 0
        turns = np.flatnonzero(
            (rises[:-1] != rises[1:]) & (np.maximum(densities[:-1], densities[1:]) > floor)
        )
        places = roots(
            lambda x, _: self.derivatives(x, 3)[1:], points[turns], points[turns + 1], ~rises[turns]
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
        low, high = 0.0, float(densities.max())
        level = _level(points, densities, mass)
        ends, found = points[:0], 0.0
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
            # How much mass goes when the level rises a little, and how that changes (Halley).
            _, slopes, bends = self.derivatives(ends, 2)
            with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                goes = level / np.abs(slopes)
                changes = goes / level - goes * bends / slopes**2
                step = (found - mass) / goes.sum()
                level += float(step / (1 + step * changes.sum() / (2 * goes.sum())))
        intervals = list(zip(ends[::2].tolist(), ends[1::2].tolist(), strict=True))
        return intervals, level, found

    def _crossings(self, points: Array, densities: Array, before: Array, level: float) -> Array:
        """Return where the density passes a level after some of the points."""
        low, high = points[before], points[before + 1]
        # A straight line through the logarithms leads near.
        logs = np.log(np.maximum(densities, 1e-300))
        rise = logs[before + 1] - logs[before]
        share = (math.log(level) - logs[before]) / np.where(rise == 0, 1, rise)

        def above(places: Array, _: Array) -> Array:
            found = self.derivatives(places, 2)
            found[0] -= level
            return found

        return roots(above, low, high, rise > 0, low + np.clip(share, 0, 1) * (high - low))


def _level(points: Array, densities: Array, mass: float) -> float:
    """Return a level above which about so much mass lies."""
    # From point to point by the trapezoidal rule; where the level passes, by a straight line.
    widths = np.minimum(np.diff(points), _STEP)
    order = np.argsort(-densities, kind="stable")
    shares = np.zeros(len(points))
    shares[:-1] += widths
    shares[1:] += widths
    held = (densities * shares)[order] / 2
    # Around the point that is at the level, only one half is above.
    held = np.cumsum(held) - held / 2
    return float(np.interp(mass, held, densities[order]))


def kernel_sums(distances: Array, order: int) -> Array:
    """Return the sum of exp(-d²/2) over each row of distances, and its derivatives up to one.

    The distances are overwritten.
    """
    squares = np.square(distances)
    kernels = distances if order == 0 else np.empty_like(distances)
    np.multiply(squares, -0.5, out=kernels)
    np.exp(kernels, out=kernels)
    found = np.empty((order + 1, len(distances)))
    found[0] = kernels.sum(axis=1)
    if order >= 1:
        found[1] = -np.einsum("ij,ij->i", distances, kernels)
    if order >= 2:
        found[2] = np.einsum("ij,ij->i", squares, kernels) - found[0]
    if order >= 3:
        kernels *= distances
        found[3] = -3 * found[1] - np.einsum("ij,ij->i", squares, kernels)
    if order >= 4:
        kernels *= distances
        found[4] = np.einsum("ij,ij->i", squares, kernels) - 6 * found[2] - 3 * found[0]
    return found


def roots(
    function: Callable[[Array, Array], Array],
    low: Array,
    high: Array,
    rising: Array,
    start: Array | None = None,
) -> Array:
    """Return where a function, rising or falling, is zero in each of many brackets.

    Found to the last digits, by Halley's method, and by bisection where it leads out of the bracket
    (W. H. Press et al., Numerical Recipes, 3rd edition, 2007, sections 9.1 and 9.4).

    Args:
        function: takes places and the numbers of their brackets; returns values, first and second
            derivatives.
        low, high: the brackets.
        rising: in which of them the function rises.
        start: where to begin; in the middle, when None.
    """
    found = (low + high) / 2 if start is None else start.copy()
    active, places = np.arange(len(found)), found.copy()
    for _ in range(100):
        value, slope, bend = function(places, active)
        under = (value < 0) == rising
        low, high = np.where(under, places, low), np.where(under, high, places)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            step = value / slope
            curved = bend / (2 * slope)
            moved = places - step / (1 - step * curved)
            # What a next step would move, when steps shrink as those of Halley's method do.
            left = (1 + np.square(curved)) * np.abs(moved - places) ** 3
        within = (moved >= low) & (moved <= high)
        moved = np.where(value == 0, places, np.where(within, moved, (low + high) / 2))
        found[active] = moved
        digits = 4e-15 * np.maximum(np.abs(places), 1)
        done = (np.abs(moved - places) <= digits) | (within & (left <= digits / 8))
        if done.all():
            break
        places = moved
        if done.any():
            going = ~done
            active, places = active[going], moved[going]
            low, high, rising = low[going], high[going], rising[going]
    return found
