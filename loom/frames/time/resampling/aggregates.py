"""Aggregations of resampling: their names, and what each is of the values in stretches of a row."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

from ....errors import QueryError, nearest
from ..arrays import Array, array_of, np, numbers_of, of_field
from ..percentiles import between

__all__ = ["Aggregations", "Known", "Wanted", "aggregate", "filled", "known_of", "wanted_of"]

#: What `resample` is asked for: names by field.
Aggregations: TypeAlias = Mapping[str, "str | Iterable[str]"]
Of: TypeAlias = Literal["count", "first", "last", "max", "mean", "min", "percentile", "std", "sum"]

#: What each name is; four of them are those of a chart of prices.
_NAMES: dict[str, Of] = {
    "count": "count", "first": "first", "last": "last", "max": "max", "mean": "mean", "min": "min",
    "std": "std", "sum": "sum", "open": "first", "high": "max", "low": "min", "close": "last",
    "median": "percentile",
}  # fmt: skip
#: Names for several.
_SEVERAL = {"ohlc": ("open", "high", "low", "close")}
_PERCENTILE = re.compile(r"p(\d{1,3}(?:\.\d+)?)")
#: Beyond these powers of two, squares are not safe from overflow and underflow.
_SAFE = 200


class Wanted(NamedTuple):
    """One aggregation of one field."""

    field: str
    of: Of
    #: Its name in the result: `price_open`.
    column: str
    #: Of a percentile, from 0 to 100.
    level: float = 50.0


class Known(NamedTuple):
    """The values of a field that count, in their order, and where among all of them they are."""

    values: Array
    #: None when all count.
    kept: Array | None

    def taken(self, order: Array) -> Known:
        """Return the same in another order; None leaves it as it is."""
        if order is None:
            return self
        if self.kept is None:
            return Known(self.values[order], None)
        kept = self.kept[order]
        places = np.cumsum(self.kept)[order] - 1
        return Known(self.values[places[kept]], kept)

    def cuts(self, cuts: Array) -> Array:
        """Return where stretches of all values begin among those that count."""
        if self.kept is None:
            return cuts
        return np.concatenate(([0], np.cumsum(self.kept)))[cuts]


def wanted_of(fields: Aggregations, place: str) -> list[Wanted]:
    """Return each aggregation by itself, in the order in which they are named.

    Raises:
        QueryError: a name that is none.

    >>> [one.column for one in wanted_of({"price": "ohlc", "volume": ["sum", "p95"]}, "resample")]
    ['price_open', 'price_high', 'price_low', 'price_close', 'volume_sum', 'volume_p95']
    """
    found: dict[str, Wanted] = {}
    for field, given in fields.items():
        if not isinstance(given, (str, Iterable)):
            raise _no_name(given, f"{place}: {field}")
        for name in (given,) if isinstance(given, str) else given:
            for one in _SEVERAL.get(name, (name,)) if isinstance(name, str) else (name,):
                column = f"{field}_{one}"
                found[column] = _wanted(field, one, column, f"{place}: {field}")
    return [*found.values()]


def _wanted(field: str, name: Any, column: str, place: str) -> Wanted:
    of = _NAMES.get(name) if isinstance(name, str) else None
    if of is not None:
        return Wanted(field, of, column)
    level = _PERCENTILE.fullmatch(name) if isinstance(name, str) else None
    if level is None or float(level[1]) > 100:
        raise _no_name(name, place)
    return Wanted(field, "percentile", column, float(level[1]))


def _no_name(given: Any, place: str) -> QueryError:
    known = [*_NAMES, *_SEVERAL]
    hint = nearest(given, known) if isinstance(given, str) else ""
    return QueryError(
        f"{place}: expected the name of an aggregation ({', '.join(known)}, or p95 for a "
        f"percentile), got {given!r}{hint}"
    )


# Values


def known_of(values: Any, place: str) -> Known:
    """Return the values that count: what is neither missing nor infinite.

    Integers stay integers; everything else becomes floats.

    Raises:
        QueryError: what is not a number.
    """
    values = array_of(of_field(values, None, place))
    if values.ndim == 1 and values.dtype.kind == "O":
        values = _plain(values)
    kind = values.dtype.kind
    if values.ndim == 1 and kind in "iuf":
        array = np.ma.getdata(values)
        kept = ~np.ma.getmaskarray(values) if isinstance(values, np.ma.MaskedArray) else None
        if kind == "i":
            array = array.astype(np.int64, copy=False)
        if kind == "f":
            array = array.astype(np.float64, copy=False)
            finite = np.isfinite(array)
            kept = finite if kept is None else kept & finite
    else:
        numbers = numbers_of(values, place)
        array = numbers.back(numbers.values)
        kept = ~np.isnan(array)
    return Known(array, None) if kept is None or kept.all() else Known(array[kept], kept)


def _plain(values: Array) -> Array:
    """Return integers, among which some may be missing, as an array of them."""
    missing = [value is None or type(value).__name__ == "NAType" for value in values]
    known = [value for value, gone in zip(values, missing, strict=True) if not gone]
    if not known or not all(type(value) is int for value in known):
        return values
    if min(known) < -(2**63) or max(known) >= 2**63:
        return values
    pairs = zip(values, missing, strict=True)
    return np.ma.MaskedArray(np.array([0 if gone else v for v, gone in pairs], np.int64), missing)


def filled(found: Array, full: Array) -> Array:
    """Return one entry for every frame: those found where `full`, elsewhere nothing.

    Nothing is NaN among floats, and masked among integers.
    """
    if found.dtype.kind == "f":
        column = np.full(len(full), np.nan)
        column[full] = found
        return column
    column = np.zeros(len(full), found.dtype)
    column[full] = found
    return column if full.all() else np.ma.MaskedArray(column, ~full)


# Aggregations


def aggregate(
    known: Known, cuts: Array, wanted: Iterable[Wanted], ddof: int
) -> tuple[Array, dict[str, Array]]:
    """Return how many values each stretch has, and the columns that are wanted of one field.

    Args:
        known: the values of the field.
        cuts: where the stretches begin among all values, and where the last one ends.
        wanted: what of them.
        ddof: what a standard deviation subtracts from their number.

    Raises:
        QueryError: a sum of integers that does not fit 64 bits.
    """
    cuts = known.cuts(cuts)
    counts = np.diff(cuts)
    full = counts > 0
    values = known.values[cuts[0] : cuts[-1]]
    stretches = _Stretches(values, (cuts[:-1] - cuts[0])[full], counts[full], ddof)
    columns: dict[str, Array] = {}
    for one in wanted:
        if one.of == "count":
            columns[one.column] = counts.copy()
        else:
            columns[one.column] = filled(stretches.found(one), full)
    return counts, columns


class _Stretches:
    """Stretches of values, none of which is empty, that follow each other without a gap."""

    def __init__(self, values: Array, starts: Array, counts: Array, ddof: int) -> None:
        self.values = values
        self.starts = starts
        self.counts = counts
        self.ddof = ddof
        self._ordered: Array = None
        self._moments: tuple[Array, Array] | None = None

    def found(self, wanted: Wanted) -> Array:
        """Return one aggregation of every stretch."""
        of = wanted.of
        if not len(self.starts):
            is_float = of in ("mean", "percentile", "std")
            return self.values[:0].astype(np.float64) if is_float else self.values[:0]
        if of == "first":
            return self.values[self.starts]
        if of == "last":
            return self.values[self.starts + self.counts - 1]
        if of == "min":
            return np.minimum.reduceat(self.values, self.starts)
        if of == "max":
            return np.maximum.reduceat(self.values, self.starts)
        if of == "sum":
            return self._sums(wanted.column)
        if of == "percentile":
            return self._percentile(wanted.level)
        means, deviations = self.moments
        return means if of == "mean" else deviations

    def _sums(self, column: str) -> Array:
        values = self.values
        if values.dtype.kind == "f":
            with np.errstate(over="ignore"):
                return np.add.reduceat(values, self.starts)
        largest = max(int(values.max()), -int(values.min()))
        if largest * int(self.counts.max()) < 2**63:
            return np.add.reduceat(values, self.starts, dtype=np.int64)
        # Python's integers do not overflow.
        exact = np.add.reduceat(values.astype(object), self.starts).tolist()
        if not all(-(2**63) <= value < 2**63 for value in exact):
            raise QueryError(
                f"resample: expected sums that fit 64 bits, got {max(exact, key=abs)} for {column}; "
                "load the field as float"
            )
        return np.array(exact, np.int64)

    def _percentile(self, level: float) -> Array:
        if self._ordered is None:
            floats = self.values.astype(np.float64, copy=False)
            stretch = np.repeat(np.arange(len(self.counts)), self.counts)
            self._ordered = floats[np.lexsort((floats, stretch))]
        ranks = (self.counts - 1) * (level / 100)
        below = np.floor(ranks).astype(np.intp)
        above = np.minimum(below + 1, self.counts - 1)
        low, high = self._ordered[self.starts + below], self._ordered[self.starts + above]
        return between(low, high, ranks - below)

    @property
    def moments(self) -> tuple[Array, Array]:
        """Means, and standard deviations, which are NaN where there are too few values."""
        if self._moments is None:
            self._moments = self._two_passes()
        return self._moments

    def _two_passes(self) -> tuple[Array, Array]:
        """Take deviations from a first mean; what they sum up to corrects it.

        Source:
            T. F. Chan, G. H. Golub, R. J. LeVeque: Algorithms for computing the sample variance,
            The American Statistician 37, 1983, formula 1.7.
        """
        numbers = numbers_of(self.values, "resample")
        values, counts = numbers.values, self.counts
        exponents = np.frexp(np.maximum.reduceat(np.abs(values), self.starts))[1]
        exponents[np.abs(exponents) <= _SAFE] = 0
        if exponents.any():
            values = np.ldexp(values, np.repeat(-exponents, counts))
        means = np.add.reduceat(values, self.starts) / counts
        deviations = values - np.repeat(means, counts)
        rest = np.add.reduceat(deviations, self.starts)
        np.square(deviations, out=deviations)
        squares = np.add.reduceat(deviations, self.starts) - rest * rest / counts
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            found = np.sqrt(np.maximum(squares, 0) / (counts - self.ddof))
            found[counts <= self.ddof] = np.nan
            return (
                numbers.back(np.ldexp(means + rest / counts, exponents)),
                np.ldexp(found, exponents),
            )
