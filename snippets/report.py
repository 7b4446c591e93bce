"""A report of groups, built step by step.

What: the sales of a shop, by month and kind: filtered, grouped by the server, put into a class of
    their own, and shown with the command that was sent.
When: a page or a report needs sums and counts of many documents.
When not: the documents themselves are shown; then load frames, with `limit`.

Run: python snippets/report.py
"""

from __future__ import annotations

import os
from datetime import datetime, timezone

import loom as lm
from loom import Q


class Product(lm.Frame):
    name: str
    kind: str


class Sale(lm.Frame):
    product: Product
    kind: str
    amount: int
    sold: datetime
    modified: lm.TimeUpdated


class Month(lm.SubFrame):
    """What was sold of a kind in a month."""

    month: int
    kind: str
    sales: int
    amount: int


SALES = Sale.filter(Q.amount > 0)

BY_MONTH = (
    SALES.group_by("kind", month={"$month": Q.sold})
    .acc(sales={"$sum": 1}, amount={"$sum": Q.amount})
    .sort("month", "kind")
)

# What no step does is done by stages; parts of a pipeline are values, too.
BEST = lm.AggregationStages().sort("-amount").limit(1)
NAMED = lm.AggregationStages().lookup(Product, "_id", as_="product").unwind("product")


def main() -> None:
    lm.connect(os.environ.get("LOOM_URI", "embedded:memory"))
    bell, net = Product.insert_many(
        [{"name": "Bell", "kind": "iron"}, {"name": "Net", "kind": "rope"}]
    )
    Sale.insert_many(
        [
            Sale(
                product=[bell, net][n % 2],
                kind=["iron", "rope"][n % 2],
                amount=n,
                sold=datetime(2024, 1 + n % 3, 1, tzinfo=timezone.utc),
            )
            for n in range(12)
        ]
    )

    print(BY_MONTH)
    months = BY_MONTH.load_many(into=Month)
    for month in months:
        print(month.month, month.kind, month.sales, month.amount)
    assert sum(month.amount for month in months) == sum(range(12))
    assert BY_MONTH.filter(Q.month == 1).count() == 2

    # A directive is a value: the beginning that all reports share is still the same.
    assert SALES.count() == 11
    assert SALES.load_latest("sold", required=True).sold.month == 3

    by_product = SALES.group_by(_id=Q.product).acc(amount={"$sum": Q.amount})
    (best,) = by_product.agg(BEST | NAMED).load_many()
    assert (best["product"]["name"], best["amount"]) == ("Net", 36)
    print("best:", best["product"]["name"])

    # Frames, with what they refer to, as long as documents stay whole.
    largest = SALES.sort("-amount").project({"amount": True, "product": {"$ref": Product}})
    sale = largest.load_one(required=True)
    assert (sale.amount, sale.product.name) == (11, "Net")

    print(SALES.explain())
    lm.close()


if __name__ == "__main__":
    main()
