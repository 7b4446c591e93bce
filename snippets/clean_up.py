"""A clean-up by filter that the audit trail hears of.

What: closes what is stale and deletes what is old, in batches, with a dry run first; a listener
    writes down what was done, document by document.
When: migrations and clean-ups of production data, where nothing may be skipped or go unnoticed.
When not: collections that expire by themselves; a TTL index does that without a script.

Run: python snippets/clean_up.py
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta, timezone

import loom as lm
from loom import Q

NOW = datetime(2024, 6, 1, tzinfo=timezone.utc)


class Order(lm.Frame):
    customer: str
    state: str
    total: int
    changed: datetime


class Entry(lm.Frame):
    order: Order
    text: str


@Order.listen("updated")
async def note_changes(frames: list[Order]) -> None:
    await Entry.aio.insert_many([{"order": o, "text": f"now {o.state}"} for o in frames])


@Order.listen("deleted")
async def note_deletes(frames: list[Order]) -> None:
    await Entry.aio.insert_many([{"order": o, "text": f"was of {o.customer}"} for o in frames])


def clean_up(*, dry_run: bool) -> tuple[int, int]:
    """Close orders that wait for a month, delete those closed for a year; return how many."""
    stale = (Q.state == "open") & (Q.changed < NOW - timedelta(days=30))
    old = (Q.state == "closed") & (Q.changed < NOW - timedelta(days=365))
    close = {"$set": {"state": "closed", "changed": NOW}}
    return (
        Order.update_where(stale, close, dry_run=dry_run, batch_size=100, progress=show),
        Order.delete_where(old, dry_run=dry_run, batch_size=100, progress=show),
    )


def show(done: int, total: int) -> None:
    print(f"  {done} of {total}")


def main() -> None:
    lm.connect(os.environ.get("LOOM_URI", "embedded:memory"))
    Order.insert_many(
        [
            {
                "customer": f"customer {n % 7}",
                "state": "open" if n % 3 else "closed",
                "total": n,
                "changed": NOW - timedelta(days=n),
            }
            for n in range(600)
        ]
    )

    expected = clean_up(dry_run=True)
    assert Entry.count({}) == 0
    print(f"would close {expected[0]} orders and delete {expected[1]}")

    assert clean_up(dry_run=False) == expected
    assert clean_up(dry_run=True) == (0, 0)
    assert Entry.count(Q.text == "now closed") == expected[0]
    assert Entry.count(Q.text.startswith("was of")) == expected[1]
    assert Order.count(Q.state == "open") == 20

    # A filter that came out empty does not empty the collection.
    wanted: dict[str, str] = {}
    try:
        Order.delete_where(wanted)
    except lm.QueryError as error:
        print(error)

    lm.close()


if __name__ == "__main__":
    main()
