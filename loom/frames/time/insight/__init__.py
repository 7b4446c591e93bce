"""Insight: what values over time say, as frozen results, and as columns over sliding windows.

`Spread`, `Regression`, `PdfValue` and `Trending` each have `of(values)`; `spread`, `regression`,
`density` and `trending` say the same of every sliding window at once.
"""

from ..results import Result
from .densities import PdfValue
from .regressions import Regression, regression
from .sliding_densities import density
from .spreads import Spread, spread
from .trends import Trending, trending

__all__ = [
    "PdfValue",
    "Regression",
    "Result",
    "Spread",
    "Trending",
    "density",
    "regression",
    "spread",
    "trending",
]
