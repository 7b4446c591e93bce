"""Documents that refer to others, and one projection that fetches them all.

What: orders, their customers and the products in their lines, loaded with three queries
    instead of one per reference.
When: a page or report shows what belongs together.
When not: a document is always read with what it refers to; then embed it.

Run: python snippets/references.py
"""

from __future__ import annotations

import os

import loom as lm


class Customer(lm.Frame):
    name: str
    city: str


class Product(lm.Frame):
    name: str
    price: int


class Line(lm.SubFrame):
    product: Product | lm.Missing
    quantity: int


class Order(lm.Frame):
    number: int
    customer: Customer
    lines: list[Line]


# What a list of orders shows, with the names and prices of what they refer to.
LISTED = {
    "number": True,
    "customer": {"$ref": Customer, "name": True},
    "lines": {"$sub": Line, "product": {"$ref": Product, "name": True, "price": True}},
}


def total(order: Order) -> int:
    """Return the price of an order; products that are gone cost nothing."""
    return sum(line.product.price * line.quantity for line in order.lines if line.product)


def main() -> None:
    lm.connect(os.environ.get("LOOM_URI", "embedded:memory"))

    ann = Customer(name="Ann", city="Oslo")
    ann.insert()
    bell, net = Product.insert_many([{"name": "Bell", "price": 12}, {"name": "Net", "price": 30}])
    Order.insert_many(
        [
            Order(number=1, customer=ann, lines=[Line(product=bell, quantity=2)]),
            Order(
                number=2,
                customer=ann,
                lines=[Line(product=bell, quantity=1), Line(product=net, quantity=3)],
            ),
        ]
    )

    orders = Order.many(projection=LISTED, sort="number")
    assert [total(order) for order in orders] == [24, 102]
    assert orders[0].customer.name == "Ann"

    # Writing an order back writes ids, whatever was loaded in their place.
    orders[0].lines[0].quantity = 5
    orders[0].update("lines")
    assert Order.one({"number": 1}, required=True).lines[0].product == bell._id

    # A product that is gone leaves a Missing, which is false and keeps the id.
    bell.delete()
    first = Order.one({"number": 1}, projection=LISTED, required=True)
    assert not first.lines[0].product
    assert first.lines[0].product._id == bell._id
    assert total(first) == 0

    for order in Order.many(projection=LISTED, sort="number"):
        print(order.number, order.customer.name, total(order))
    lm.close()


if __name__ == "__main__":
    main()
