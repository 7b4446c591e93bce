"""Moments: figures that are revised, and what was known when somebody had to decide.

What: each quarter's growth is told a month after it, and corrected later. Corrections are added,
    nothing is overwritten, and `as_of` gives the figures as they were known on a day.
When: a model, a report or an audit must not know what nobody knew then.
When not: where only the latest figure counts, an ordinary frame with a unique index is simpler.

Run: python snippets/moments.py
"""

from __future__ import annotations

import os
from datetime import datetime, timezone

import loom as lm
from loom.frames.indexes import Index, ensure
from loom.frames.time import LedgerMoment, YearlyFrame

#: Quarter, when it was told, and growth in percent. The figures are made up.
TOLD = [
    ("2023-01-01", "2023-04-28", 1.1),
    ("2023-04-01", "2023-07-28", 2.4),
    ("2023-01-01", "2023-09-28", 2.2),  # the first quarter was twice as good
    ("2023-07-01", "2023-10-27", 4.9),
    ("2023-04-01", "2023-12-21", 2.1),
    ("2023-10-01", "2024-01-25", 3.3),
]


class Growth(LedgerMoment):
    _indexes = [Index("symbol", "time", "known_at", "_id")]

    percent: float


def day(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc)


def shown(figures: list[Growth]) -> str:
    return ", ".join(f"{figure.time:%b} {figure.percent}" for figure in figures)


def main() -> None:
    lm.connect(os.environ.get("LOOM_URI", "embedded:memory"))
    ensure(Growth)
    Growth.insert_many(
        Growth(symbol="GDP", time=day(time), known_at=day(known), percent=percent)
        for time, known, percent in TOLD
    )

    for decision in ("2023-05-01", "2023-08-01", "2023-11-01", "2024-02-01"):
        figures = Growth.as_of("GDP", day(decision), YearlyFrame.parse("2023"))
        print(f"{decision}: {shown(figures)}")

    # What a careless test of the decision of May would have used.
    hindsight = Growth.as_of("GDP", frame=YearlyFrame.parse("2023"))
    then = Growth.as_of("GDP", day("2023-05-01"))
    assert [figure.percent for figure in then] == [1.1]
    assert hindsight[0].percent == 2.2

    # A correction is saved, and is another document.
    latest = Growth.latest("GDP", required=True)
    latest.percent = 3.4
    latest.known_at = day("2024-03-28")
    latest.save()
    assert Growth.latest("GDP", required=True).percent == 3.4
    assert Growth.latest("GDP", known_at=day("2024-03-01"), required=True).percent == 3.3
    assert len(TOLD) + 1 == Growth.count({})


if __name__ == "__main__":
    main()
