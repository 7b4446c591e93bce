"""Trending: spread, regression and density together, of one window or of many."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from .arrays import Array, axis_of, np, numbers_of
from .densities import PdfValue
from .percentiles import DEFAULT
from .regressions import Regression, regression, times_of
from .results import Result, axes_for
from .sliding_densities import density
from .spreads import Spread, spread

__all__ = ["Trending", "trending"]


class Trending(Result):
    """Where the values of a window lie, how fast they grow, and where they are densest.

    Shape:
        n, left_out: int, as in the spread; first, last: the times of the first and the last value,
        cut to a millisecond, or numbers; stored as first_time or first_number; spread: Spread; regression: Regression;
        density: PdfValue.

    >>> found = Trending.of([1, 3, 5, 8])
    >>> found.spread.mean, found.regression.slope
    (4.25, 2.3)
    >>> Trending.of([])
    Trending(no data)
    """

    first_time: datetime | None
    first_number: float | None
    last_time: datetime | None
    last_number: float | None
    spread: Spread
    regression: Regression
    density: PdfValue

    @classmethod
    def of(
        cls,
        values: Any,
        times: Any = None,
        *,
        per: str | None = None,
        unit: str | None = None,
        percentiles: Iterable[float] = DEFAULT,
        ddof: int = 1,
        mass: float = 0.9,
        points: int = 101,
    ) -> Trending:
        """Return all three of one window.

        Args:
            values, times, per, unit: as for `Regression.of`.
            percentiles, ddof: as for `Spread.of`.
            mass, points: as for `PdfValue.of`.

        Raises:
            QueryError: as these do.

        >>> Trending.of([2, 4], [0, 60], unit="second", per="minute").regression
        Regression(n=2, slope=2 per minute, intercept=2, r=1)
        """
        times = times_of(values, times)
        numbers = numbers_of(values, "Trending")
        axis = axis_of(times, len(numbers.values), per, unit, "Trending")
        known = np.flatnonzero(axis.known)[[0, -1]] if axis.known.any() else None
        first, last = (None, None) if known is None else axis.origins(known)
        found = Spread.of(values, percentiles=percentiles, ddof=ddof)
        return cls(
            n=found.n,
            left_out=found.left_out,
            **axis.kept("first", first),
            **axis.kept("last", last),
            spread=found,
            regression=Regression.of(values, times, per=per, unit=unit),
            density=PdfValue.of(values, mass=mass, points=points),
        )

    @property
    def first(self) -> datetime | float | None:
        """Return the time, or the number, of the first value."""
        return self.first_number if self.first_time is None else self.first_time

    @property
    def last(self) -> datetime | float | None:
        """Return the time, or the number, of the last value."""
        return self.last_number if self.last_time is None else self.last_time

    @classmethod
    def each(cls, windows: Iterable[Any], **options: Any) -> Iterator[Trending]:
        """Yield all three of each window, when it is asked for.

        Args:
            windows: arrays, or whatever has `.values` and perhaps `.times`.
            options: as for `Trending.of`.

        >>> [found.spread.mean for found in Trending.each([[1, 2], [], [3, 5]])]
        [1.5, None, 4.0]
        """
        for window in windows:
            yield cls.of(window, **options)

    def plot(self, axes: Any = None) -> Any:
        """Draw all three beside each other; return the three axes of matplotlib.

        Args:
            axes: three axes; new ones when None.

        Raises:
            MissingExtra: matplotlib is not installed.
            QueryError: as the plots of the parts do.
        """
        axes = axes_for(axes, 3)
        for part, place in zip((self.spread, self.regression, self.density), axes, strict=True):
            part.plot(place)
        return axes

    def _figures(self) -> Iterator[tuple[str, str]]:
        for name, value in (("first", self.first), ("last", self.last)):
            yield name, value.isoformat(" ") if isinstance(value, datetime) else str(value)
        for part in (self.spread, self.regression, self.density):
            yield "", repr(part)


def trending(
    values: Any,
    size: int,
    step: int = 1,
    *,
    times: Any = None,
    per: str | None = None,
    unit: str | None = None,
    percentiles: Iterable[float] = DEFAULT,
    ddof: int = 1,
) -> dict[str, Array]:
    """Return spread, regression and density of every sliding window, as columns.

    Args:
        values, times, per, unit: as for `Regression.of`.
        size: how many values a window has.
        step: by how many values the next window begins later.
        percentiles, ddof: as for `Spread.of`.

    Returns:
        The columns of `spread`, `regression` and `density`. `n` and `left_out` are those of the
        spread; `points` is the regression's n, which misses values without a time.

    Raises:
        QueryError: as `Regression.of`, and a size or step that is not whole and positive.

    >>> list(trending([1, 2, 4], 2, percentiles=[50]))[:6]
    ['n', 'left_out', 'mean', 'std', 'min', 'max']
    """
    lines = regression(values, size, step, times=times, per=per, unit=unit)
    points = lines.pop("n")
    del lines["left_out"]
    columns = spread(values, size, step, percentiles=percentiles, ddof=ddof)
    return {**columns, "points": points, **lines, **density(values, size, step)}
