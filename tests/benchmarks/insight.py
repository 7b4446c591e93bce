"""Insight: spreads over sliding windows, and resampling, beside pandas, densities beside SciPy.

Both sides compute the same figures of the same values. pandas' rolling figures are those of an
online algorithm; Loom's are exact in every window, see tests/test_insight_spreads.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from importlib.util import find_spec
from typing import Any

from .bench import Bench, Row, ratio_row
from .measure import compare

__all__ = ["windows"]

SIZE = 1_000_000
LEVELS = (5, 25, 50, 75, 95)


def windows(bench: Bench) -> Iterator[Row]:
    """Yield how sliding spreads compare with pandas, and densities with SciPy's on one grid."""
    import numpy as np
    import pandas as pd
    from scipy.stats import gaussian_kde

    from loom.frames.time.insight import PdfValue, spread
    from loom.frames.time.insight.kernels import Kernels

    random = np.random.default_rng(2013)
    for size, count, limit in ((30, SIZE, 2.0), (1_000, SIZE // 10, 2.0)):
        values = random.normal(size=bench.size(count))

        series = pd.Series(values)

        def rolling(series: Any = series, size: int = size) -> Any:
            found = series.rolling(size)
            ranked = [found.quantile(level / 100) for level in LEVELS]
            return [found.count(), found.mean(), found.std(), *ranked]

        def ours(values: Any = values, size: int = size) -> Any:
            return spread(values, size, percentiles=LEVELS)

        np.testing.assert_allclose(ours()["p95"], rolling()[-1][size - 1 :], atol=1e-12)
        found = compare(ours, rolling, rounds=bench.rounds(5))
        yield ratio_row(f"spread(), {len(values):,} windows of {size:,}", found, limit)

    yield from _of_a_window(bench, random)

    for count in (1_000, 10_000):
        values = random.normal(size=count)
        made = PdfValue.of(values)
        scaled = np.sort((values - values.mean()) / made.bandwidth)
        grid = Kernels(scaled).hills()[0] * made.bandwidth + values.mean()

        def theirs(values: Any = values, grid: Any = grid) -> Any:
            return gaussian_kde(values)(grid)

        def density(values: Any = values) -> Any:
            return PdfValue.of(values)

        assert abs(theirs().max() / made.density - 1) < 1e-9
        calls = max(1, bench.size(100_000) // count)
        found = compare(density, theirs, rounds=bench.rounds(9), calls=calls)
        yield ratio_row(f"PdfValue.of(), {count:,} values, a grid of {len(grid)}", found, 1.5)


def _of_a_window(bench: Bench, random: Any) -> Iterator[Row]:
    """Yield the same of a window of moments, some without a price, and its days in a zone."""
    if find_spec("pyarrow") is None:
        return
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    from loom.frames.time import DailyFrame, Moment, MomentWindow
    from loom.frames.time.insight import spread

    class Price(Moment):
        price: float | None
        volume: int

    count = bench.size(SIZE)
    minutes = np.datetime64("2012-06-01", "ms") + np.arange(count) * np.timedelta64(60_000, "ms")
    prices = random.normal(size=count)
    masked = random.random(count) < 0.01
    volumes = random.integers(0, 1_000, count)
    table = pa.table({
        "symbol": pa.array(["ACME"]).take(pa.array(np.zeros(count, np.int64))),
        "time": pa.array(minutes).cast(pa.timestamp("ms", "UTC")),
        "price": pa.array(prices, mask=masked),
        "volume": volumes,
    })  # fmt: skip
    window = MomentWindow.from_table(Price, table, tzone="America/New_York")
    zoned = pd.DatetimeIndex(minutes.astype("datetime64[ns]"), tz="UTC").tz_convert(
        "America/New_York"
    )
    frame = pd.DataFrame({"price": np.where(masked, np.nan, prices), "volume": volumes}, zoned)

    def rolling() -> Any:
        found = frame["price"].rolling(30, min_periods=1)
        ranked = [found.quantile(level / 100) for level in LEVELS]
        return [found.count(), found.mean(), found.std(), *ranked]

    def ours() -> Any:
        return spread(window, 30, field="price", percentiles=LEVELS)

    np.testing.assert_allclose(ours()["mean"], rolling()[1][29:], atol=1e-9)
    found = compare(ours, rolling, rounds=bench.rounds(5))
    yield ratio_row(f"spread() of a window with nulls, {count:,} moments", found, 2.0)

    asked: Any = {"price": ["first", "max", "min", "last", "mean", "std"], "volume": "sum"}

    def theirs() -> Any:
        return frame.resample("D").agg(asked)

    def days() -> Any:
        return window.resample(DailyFrame, asked)

    np.testing.assert_allclose(days()["price_std"], theirs()["price"]["std"], rtol=1e-9)
    assert days().frames[0].floor == datetime.fromisoformat(str(theirs().index[0]))
    found = compare(days, theirs, rounds=bench.rounds(9), calls=1)
    yield ratio_row(f"resample() to days of a zone, {count:,} moments", found, 1.0)
