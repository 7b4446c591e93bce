"""A forecast, and how far off it would have been: windows of moments, folds, spreads.

What: says of the next six hours what they were a day before, tests that on every part of a history
    without looking ahead, and keeps how far off it was in a document.
When: models that learn from what was measured, and are tested on what came after.
When not: one figure of a day (`resample`), or of all values (`Spread.of`).

Run: python snippets/forecast.py
"""

from __future__ import annotations

import math
import os
from datetime import datetime, timedelta, timezone

import numpy as np

import loom as lm
from loom.frames.indexes import Index
from loom.frames.time import DailyFrame, Moment, MomentWindow, Spread


class Reading(Moment):
    _indexes = [Index("symbol", "time", "known_at", "_id")]

    celsius: float


class Quality(lm.Frame):
    """How far off a forecast of a station was."""

    _id: str
    errors: Spread


def forecast(past: MomentWindow, start: datetime) -> np.ndarray:
    """Return the values of six hours: those of the same hours a day before."""
    yesterday = start - timedelta(hours=24)
    return past.between(yesterday, yesterday + timedelta(hours=6)).values("celsius")


def tested(window: MomentWindow) -> Spread:
    """Return how far off the forecasts of a history were.

    The future of a fold is in no past, and a past holds what was known when it ended.
    """
    errors = [
        fold.future.values("celsius") - forecast(fold.past, fold.future.first.time)
        for fold in window.folds("48h", "6h", gap="1h")
    ]
    return Spread.of(np.concatenate(errors))


def main() -> None:
    lm.connect(os.environ.get("LOOM_URI", "embedded:memory"))
    start = datetime(2024, 3, 1, tzinfo=timezone.utc)
    hour = timedelta(hours=1)
    # Each day is a degree warmer than the one before; a reading is known an hour later.
    Reading.insert_many(
        Reading(
            symbol="JFK",
            time=start + n * hour,
            known_at=start + (n + 1) * hour,
            celsius=10 + n / 24 + 5 * math.sin(n * math.tau / 24),
        )
        for n in range(24 * 30)
    )

    window = Reading.window("JFK", tzone="America/New_York")
    assert window.gaps("1h").count == 0
    days = window.resample(DailyFrame, celsius=["min", "max"])
    assert len(days) == 31  # the first and the last are not whole in New York

    Quality(_id="JFK", errors=tested(window)).insert()
    found = Quality.one({"errors.mean": {"$gt": 0}}, required=True)
    assert math.isclose(found.errors.mean or 0, 1.0)
    print(f"{found.errors.n} forecasts, off by {found.errors.mean:.2f} degrees")
    lm.close()


if __name__ == "__main__":
    main()
