"""Insight: spreads over sliding windows beside pandas, densities beside SciPy.

Both sides compute the same figures of the same values. pandas' rolling figures are those of an
online algorithm; Loom's are exact in every window, see tests/test_insight_spreads.py.
"""

from __future__ import annotations

from collections.abc import Iterator
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
    from loom.frames.time.kernels import Kernels

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
