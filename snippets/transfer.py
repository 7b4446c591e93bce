"""Moving an amount between two accounts, exactly once.

What: a transfer is a guard (enough money there), two steps that happen together, and a receipt
      whose id the caller chose. The caller repeats the call after any failure until it returns.
When: something must move once, and the network, the server or this program may die in between.
When not: a lost or doubled step does no harm; then `inc` alone is enough.

Run: python snippets/transfer.py
"""

from __future__ import annotations

import os

import loom as lm
from loom import Q
from loom.frames.ledger import LedgerFrame


class Account(lm.Frame):
    # Every change counts, so that nobody overwrites a balance that he has not seen.
    _version = "_v"

    owner: str
    balance: int = 0


class Receipt(LedgerFrame):
    source: Account
    target: Account
    amount: int


class NotEnough(Exception):
    """The account holds less than the amount."""


def transfer(key: str, source: Account, target: Account, amount: int) -> Receipt:
    """Move an amount; however often it is called with one key, it moves once.

    Args:
        key: names this transfer; the caller keeps it and uses it again when it repeats the call.
        source: whose balance is charged.
        target: whose balance is raised.
        amount: more than 0.

    Raises:
        NotEnough: the source holds less; nothing was moved.
        ValueError: the amount is not positive, or the key belongs to another transfer.
    """
    if amount <= 0 or source == target:
        raise ValueError(f"expected an amount above 0 between two accounts, got {amount}")
    receipt = Receipt(_id=key, source=source, target=target, amount=amount)

    def move() -> None:
        # First, so that a second call ends here: Duplicate says that the first one was made.
        receipt.insert()
        try:
            source.inc("balance", -amount, where=Q.balance >= amount)
        except lm.Conflict as error:
            raise NotEnough(f"{error.stored.owner} has {error.stored.balance}") from error
        target.inc("balance", amount)

    try:
        # All of it or nothing; what the driver may repeat, it repeats.
        lm.with_transaction(move)
    except lm.Duplicate:
        found = Receipt.by_id(key, required=True)
        if (found.source, found.target, found.amount) != (source._id, target._id, amount):
            raise ValueError(f"{key!r} belongs to another transfer") from None
        return found
    return receipt


def main() -> None:
    lm.connect(os.environ.get("LOOM_URI", "embedded:memory"))

    ann, bob = Account(owner="Ann", balance=100), Account(owner="Bob")
    Account.insert_many([ann, bob])

    transfer("rent-2024-03", ann, bob, 60)
    transfer("rent-2024-03", ann, bob, 60)  # the answer was lost, so it is asked for again
    for account in Account.many(sort="owner"):
        print(f"{account.owner} has {account.balance}")

    try:
        transfer("rent-2024-04", ann, bob, 60)
    except NotEnough as error:
        print(f"refused: {error}")
    print(f"{Receipt.count({})} receipt")


if __name__ == "__main__":
    main()
