"""Regression: the straight line through values over time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import datetime
from fractions import Fraction
from typing import Any

from ....errors import QueryError
from ..arrays import Array, exponent_of, np, numbers_of, of_field, special
from ..axes import UNITS, Axis, axis_of
from ..results import Result, axes_for, number_text
from .sliding_sums import Pairs, blocks, check_windows, every, pairs
from .spreads import centre_and_squares

__all__ = ["Regression", "regression", "times_of"]

#: Differences above this may be squared and multiplied.
_SMALL = 2.0**-240


class Regression(Result):
    """A straight line by least squares: how fast values grow, and how sure that is.

    Mostly over time; or over other numbers, such as the speed of the wind, in a unit that is named.

    A point whose value or time is missing or infinite is left out and counted.

    - No point: all is None, and the regression is false.
    - One point, or all at one time: no line, all but `origin`, `x_low` and `x_high` is None.
    - Two points: the line through both; `r` is 1 or -1, and nothing is left over to judge it by:
      `p`, `stderr` and `intercept_stderr` are None (SciPy says 0 there).
    - Equal values: slope and errors 0; a line without rise correlates with nothing: `r` and `p`
      are None (SciPy: NaN).
    - Otherwise every figure is that of `scipy.stats.linregress`; where all points lie on the line
      the errors are 0, and so is `p`.

    Shape:
        n, left_out: int; slope, intercept, r, p, stderr, intercept_stderr: float;
        per: the unit of x: of time, that of the numbers, or `"step"`;
        origin: where x is 0, the time of the first point, cut to a millisecond; a number when the
        times are numbers, and 0 when they are none of time; stored as origin_time or
        origin_number;
        x_low, x_high: float, between which x the points lie, from the origin and in the unit.

    Units:
        slope, stderr: the unit of the values, per `per`; intercept, intercept_stderr: the unit of
        the values, at `origin`; p: two-sided probability that a slope is 0.

    >>> Regression.of([1, 3, 5, 8])
    Regression(n=4, slope=2.3 per step, intercept=0.8, r=0.994377, p=0.00562329, stderr=0.173205)
    >>> Regression.of([])
    Regression(no data)
    """

    slope: float | None
    intercept: float | None
    r: float | None
    p: float | None
    stderr: float | None
    intercept_stderr: float | None
    per: str
    origin_time: datetime | None
    origin_number: float | None
    x_low: float | None
    x_high: float | None

    @classmethod
    def of(
        cls, values: Any, times: Any = None, *, per: str | None = None, unit: str | None = None
    ) -> Regression:
        """Return the line through values over their times.

        Args:
            values: as for `Spread.of`; whatever has `.times` too needs no `times`.
            times: datetime64 (taken as UTC), aware datetimes, or numbers with `unit`; None counts
                the values: 0, 1, 2 ...
            per: the unit of x: `"second"`, `"minute"`, `"hour"`, `"day"` (the default), `"week"`
                and smaller ones.
            unit: that of numbers. Of time, such as `"second"`, they are times; of anything else,
                such as `"mph"`, x is the numbers themselves, and there is no `per`. Of a series of
                a window, `window["wind"]`, they are its values.

        Raises:
            QueryError: what is no number, a naive datetime, times without a unit, or not as many
                as values.

        Source:
            N. R. Draper, H. Smith: Applied Regression Analysis, 3rd edition, 1998, sections 1.2
            to 1.4; the figures are those of `scipy.stats.linregress`.

        >>> Regression.of([5.0, 7.0, 9.5], [0, 86400, 172800], unit="second").slope
        2.25
        >>> Regression.of([4, 9, 21], [5, 10, 20], unit="mph")
        Regression(n=3, slope=1.14286 per mph, intercept=-2, r=0.999064, p=0.0275492, stderr=0.0494872)
        """
        numbers = numbers_of(values, "Regression")
        axis = axis_of(times_of(values, times), len(numbers.values), per, unit, "Regression")
        known = np.flatnonzero(~np.isnan(numbers.values) & axis.known)
        left_out = len(numbers.values) - len(known)
        if not len(known):
            return _without_line(cls, 0, left_out, axis, None, None)
        origin = axis.origins(known[:1])[0]
        x = axis.since(origin, axis.ticks[known])
        y = numbers.values[known]
        if len(known) < 2 or x.min() == x.max():
            return _without_line(cls, len(known), left_out, axis, origin, x)
        x_scale, y_scale = exponent_of(x), exponent_of(y)
        figures = _line(np.ldexp(x, -x_scale), np.ldexp(y, -y_scale))
        powers = (y_scale - x_scale, y_scale, 0, 0, y_scale - x_scale, y_scale)
        with np.errstate(over="ignore"):  # a slope may be larger than any float
            slope, intercept, r, p, stderr, intercept_stderr = (
                None if f is None else float(np.ldexp(f, power))
                for f, power in zip(figures, powers, strict=True)
            )
        assert intercept is not None
        if numbers.offset:
            intercept = float(Fraction(intercept) + numbers.offset)
        return cls(
            n=len(known), left_out=left_out, slope=slope, intercept=intercept, r=r, p=p,
            stderr=stderr, intercept_stderr=intercept_stderr, per=axis.per,
            x_low=float(x.min()), x_high=float(x.max()), **axis.kept("origin", origin),
        )  # fmt: skip

    @property
    def origin(self) -> datetime | float | None:
        """Return the time or the number where x is 0, None without a point."""
        return self.origin_number if self.origin_time is None else self.origin_time

    def at(self, x: float) -> float | None:
        """Return the line's value at `x`, in the unit and from the origin; None without a line.

        >>> Regression.of([1, 3]).at(2)
        5.0
        """
        if self.slope is None or self.intercept is None:
            return None
        return self.intercept + self.slope * x

    def plot(self, axes: Any = None) -> Any:
        """Draw the line from the lowest x to the highest; return the axes of matplotlib.

        Raises:
            MissingExtra: matplotlib is not installed.
            QueryError: there is no line.
        """
        axes = axes_for(axes)
        low, high = self.x_low, self.x_high
        if self.slope is None or low is None or high is None:
            raise QueryError(f"Regression.plot: expected a line, got none from {self.n} points")
        ends = (low, high)
        axes.plot(ends, [self.at(x) for x in ends])
        since = self.origin.isoformat(" ") if isinstance(self.origin, datetime) else self.origin
        is_time = self.per in UNITS or self.per == "step"
        axes.set_xlabel(f"{self.per}s since {since}" if is_time else self.per)
        axes.set_title(f"{number_text(self.slope)} per {self.per}, n = {self.n}")
        return axes

    def _figures(self) -> Iterator[tuple[str, str]]:
        if self.slope is None:
            yield "", "no line"
            return
        yield "slope", f"{number_text(self.slope)} per {self.per}"
        yield "intercept", number_text(self.intercept)
        for name in ("r", "p", "stderr"):
            if self[name] is not None:
                yield name, number_text(self[name])
        if isinstance(self.origin, datetime):
            yield "origin", self.origin.isoformat(" ")


def times_of(values: Any, times: Any) -> Any:
    """Return the times that stand with the values when none are given."""
    own = getattr(values, "times", None)
    return own if times is None and not callable(own) else times


def _without_line(
    cls: type[Regression], n: int, left_out: int, axis: Axis, origin: Any, x: Array
) -> Regression:
    low, high = (None, None) if x is None else (float(x.min()), float(x.max()))
    return cls(
        n=n, left_out=left_out, slope=None, intercept=None, r=None, p=None, stderr=None,
        intercept_stderr=None, per=axis.per, x_low=low, x_high=high,
        **axis.kept("origin", origin),
    )  # fmt: skip


def _line(x: Array, y: Array) -> tuple[float | None, ...]:
    """Return slope, intercept, r, p and both errors of at least two points at two times."""
    x_mean, x_squares = centre_and_squares(x)
    y_mean, y_squares = centre_and_squares(y)
    if y.min() == y.max():
        sure = 0.0 if len(x) > 2 else None
        return 0.0, y_mean, None, None, sure, sure
    dx, dy = x - x_mean, y - y_mean
    products = float((dx * dy).sum() - dx.sum() * dy.sum() / len(x))
    slope = products / x_squares
    intercept = y_mean - slope * x_mean
    r = max(-1.0, min(1.0, products / math.sqrt(x_squares * y_squares)))
    freedom = len(x) - 2
    if not freedom:
        return slope, intercept, math.copysign(1.0, slope), None, None, None
    # What the line leaves over, taken point by point: near 1, r has no digits left to tell.
    left = dy - slope * dx
    stderr = math.sqrt(float((left * left).sum()) / x_squares / freedom)
    intercept_stderr = stderr * math.sqrt(x_squares / len(x) + x_mean**2)
    t = abs(slope) / stderr if stderr else math.inf
    return slope, intercept, r, float(2 * special.stdtr(freedom, -t)), stderr, intercept_stderr


def _figures(
    n: Array, x_mean: Any, y_mean: Any, x_squares: Any, y_squares: Array, products: Array
) -> tuple[Array, ...]:
    """Return what `linregress` says, NaN where that is not defined."""
    with np.errstate(all="ignore"):
        slope = products / x_squares
        intercept = y_mean - slope * x_mean
        r = np.clip(products / np.sqrt(x_squares * y_squares), -1, 1)
        freedom = np.where(n > 2, n - 2, np.nan)
        left = y_squares * (1 - r) * (1 + r)
        stderr = np.where(y_squares == 0, 0.0, np.sqrt(left / x_squares / freedom))
        stderr[np.isnan(freedom)] = np.nan
        intercept_stderr = stderr * np.sqrt(x_squares / n + np.square(x_mean))
        t = np.abs(r) * np.sqrt(freedom / ((1 - r) * (1 + r)))
        p = 2 * special.stdtr(freedom, -t)
    return slope, intercept, r, p, stderr, intercept_stderr


def regression(
    values: Any,
    size: int,
    step: int = 1,
    *,
    field: str | None = None,
    times: Any = None,
    per: str | None = None,
    unit: str | None = None,
) -> dict[str, Array]:
    """Return the regression of every sliding window, as columns.

    Args:
        values, times, per, unit: as for `Regression.of`; or a window with `field`, which has times.
        size: how many values a window has.
        step: by how many values the next window begins later.
        field: the name of a field, when `values` is a window of moments.

    Returns:
        Arrays with an entry for each whole window; NaN where `Regression.of` has None.

    Shape:
        n, left_out: int64; slope, intercept, r, p, stderr, intercept_stderr: float64;
        origin: datetime64 in UTC (or as the times), NaT (or NaN) without data.

        Where nearly nothing is left between points and line, `p` and the errors have the digits
        that `1 - r` has, as SciPy's; `Regression.of` takes what is left point by point.

    Raises:
        QueryError: as `Regression.of`, and a size or step that is not whole and positive.

    Source:
        see `loom.frames.time.insight.sliding_sums`.

    >>> regression([1, 2, 4, 8], 3)["slope"].tolist()
    [1.5, 3.0]
    """
    check_windows(size, step, "regression")
    values = of_field(values, field, "regression")
    numbers = numbers_of(values, "regression")
    y = numbers.values
    axis = axis_of(times_of(values, times), len(y), per, unit, "regression")
    usable = ~np.isnan(y) & axis.known
    whole = bool(usable.all())
    count = (len(y) - size) // step + 1 if len(y) >= size else 0
    names = ("slope", "intercept", "r", "p", "stderr", "intercept_stderr")
    n = np.empty(count, np.int64)
    columns = {name: np.empty(count) for name in names}
    firsts = np.empty(count, np.intp)
    following = _following(usable)
    y_scale = exponent_of(y[usable])
    for where, spanned in blocks(len(y), size, step):
        part = usable[spanned]
        begins = np.arange(where.start, where.stop) * step
        first = firsts[where] = begins if whole else following[begins]
        base = axis.ticks[spanned][np.argmax(part)]  # near, so that no digit is lost
        x = np.where(part, axis.since(base, axis.ticks[spanned]), np.nan)
        found = pairs(x, np.ldexp(np.where(part, y[spanned], np.nan), -y_scale), size)
        n[where] = every(found.x.n, step)
        origins = axis.origins(np.minimum(first, len(y) - 1))
        away = axis.since(base, origins)
        for name, figure in zip(names, _of_windows(found, n[where], away, step), strict=True):
            columns[name][where] = figure
    _repair(columns, y, axis, usable, y_scale, size, step)
    for name in ("slope", "intercept", "stderr", "intercept_stderr") if y_scale else ():
        columns[name] = np.ldexp(columns[name], y_scale)
    columns["intercept"] = numbers.back(columns["intercept"])
    first_ticks = axis.origins(np.minimum(firsts, len(y) - 1)) if count else axis.ticks[:0]
    origin = axis.shown(first_ticks)
    missing = np.datetime64("NaT", "us") if axis.is_calendar else np.nan
    origin = np.where(n > 0, origin, missing)
    return {"n": n, "left_out": size - n, **columns, "origin": origin}


def _following(usable: Array) -> Array:
    """Return for each place the first one from there on that can be used."""
    places = np.where(usable, np.arange(len(usable)), len(usable))
    return np.minimum.accumulate(places[::-1])[::-1]


def _of_windows(found: Pairs, n: Array, away: Array, step: int) -> tuple[Array, ...]:
    x, y = found.x, found.y
    x_mean = (every(x.high, step) - away) + every(x.low, step)
    y_mean = every(y.high, step) + every(y.low, step)
    x_squares = np.where(every(x.squares, step) > 0, every(x.squares, step), np.nan)
    y_squares = np.broadcast_to(every(y.squares, step), n.shape)
    products = np.broadcast_to(every(found.products, step), n.shape)
    slope, intercept, r, p, stderr, intercept_stderr = _figures(
        n, x_mean, y_mean, x_squares, y_squares, products
    )
    for figure in (slope, intercept, r, p, stderr, intercept_stderr):
        figure[np.isnan(x_squares)] = np.nan
    return slope, intercept, r, p, stderr, intercept_stderr


def _repair(
    columns: dict[str, Array],
    y: Array,
    axis: Axis,
    usable: Array,
    y_scale: int,
    size: int,
    step: int,
) -> None:
    """Do again, one by one, the windows whose differences are too small to be squared."""
    steps = np.abs(np.diff(np.ldexp(y[usable], -y_scale)))
    if not ((steps > 0) & (steps < _SMALL)).any():
        return
    for number in range(len(columns["slope"])):
        places = np.flatnonzero(usable[number * step : number * step + size]) + number * step
        x = axis.since(axis.origins(places[:1]), axis.ticks[places])
        values = y[places]
        if len(places) > 1 and x.min() < x.max() and np.ptp(values) < np.ldexp(_SMALL, y_scale):
            scale = exponent_of(values)
            figures = _line(x, np.ldexp(values, -scale))
            powers = (scale, scale, 0, 0, scale, scale)
            for column, figure, power in zip(columns.values(), figures, powers, strict=True):
                figure = np.nan if figure is None else figure
                column[number] = np.ldexp(figure, power - y_scale if power else 0)
