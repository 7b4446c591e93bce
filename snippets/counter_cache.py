"""Counter caches: how many loans a book has, without counting them for every page.

What: numbers on the books and members that Loom keeps right, and a nightly recount.
When: a list shows or sorts by a number of referring documents.
When not: the number is wanted rarely; then count, with an index on the reference.

Run: python snippets/counter_cache.py
"""

from __future__ import annotations

import asyncio
import os
from datetime import datetime, timezone

import loom as lm
from loom import Q
from loom.frames.counters import counter_cache, recount


class Book(lm.Frame):
    title: str
    loans: int = 0
    out: int = 0


class Member(lm.Frame):
    name: str
    loans: int = 0


class Loan(lm.Frame):
    book: Book
    member: Member
    returned: datetime


of_book = counter_cache(Book, "loans", of=Loan, by="book")
out = counter_cache(Book, "out", of=Loan, by="book", where=Q.returned.exists(False))
of_member = counter_cache(Member, "loans", of=Loan, by="member")


def numbers() -> dict[str, tuple[int, int]]:
    return {book.title: (book.loans, book.out) for book in Book.many(sort="title")}


async def lend(book: Book, member: Member) -> Loan:
    """The same listeners count awaited writes."""
    loan = Loan(book=book, member=member)
    await loan.aio.insert()
    return loan


def main() -> None:
    lm.connect(os.environ.get("LOOM_URI", "embedded:memory"))
    Loan.get_collection().create_index("book")
    Loan.get_collection().create_index("member")

    dragons, maps = Book.insert_many([{"title": "Dragons"}, {"title": "Maps"}])
    ann, bob = Member.insert_many([{"name": "Ann"}, {"name": "Bob"}])

    loans = Loan.insert_many(
        [
            {"book": dragons, "member": ann},
            {"book": maps, "member": ann},
            {"book": maps, "member": bob},
        ]
    )
    assert numbers() == {"Dragons": (1, 1), "Maps": (2, 2)}

    # Brought back: it is a loan still, but no longer out.
    loans[1].returned = datetime.now(timezone.utc)
    loans[1].save()
    assert numbers() == {"Dragons": (1, 1), "Maps": (2, 1)}

    # The desk took the wrong book.
    loans[0].book = maps
    loans[0].update("book")
    assert numbers() == {"Dragons": (0, 0), "Maps": (3, 2)}

    async def evening() -> None:
        await lend(dragons, bob)
        await lm.aio.close()

    asyncio.run(evening())
    assert numbers() == {"Dragons": (1, 1), "Maps": (3, 2)}

    # All or nothing: what is rolled back is not counted.
    try:
        with lm.transaction():
            Loan.delete_where(Q.member == ann)
            raise RuntimeError("the wrong member")
    except RuntimeError:
        pass
    assert Member.by_id(ann._id, required=True).loans == 2

    # A restore from a backup went past Loom; the nightly recount finds it.
    Loan.get_collection().insert_one({"book": dragons._id, "member": ann._id})
    for cache in (of_book, out, of_member):
        found = cache.recount()
        print(f"{cache.owner.__name__}.{cache.field}: {found.wrong} of {found.checked} were wrong")
        assert found.wrong == 1
    assert numbers() == {"Dragons": (2, 2), "Maps": (3, 2)}
    assert recount(Book, "loans").wrong == 0

    lm.close()


if __name__ == "__main__":
    main()
