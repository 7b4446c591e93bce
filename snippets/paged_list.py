"""A list that is shown page by page, as a web page with links to the next and previous one.

What: a function that takes a token from a request and returns JSON with the tokens to go on.
When: a list is long, users go through it from its beginning, and documents come and go meanwhile.
When not: users jump to page 17; that is Paginator's work, and costs what it skips.

Run: python snippets/paged_list.py
"""

from __future__ import annotations

import json
import os
from datetime import datetime, timedelta, timezone

import loom as lm
from loom import Q
from loom.frames.index import Index


class Sighting(lm.Frame):
    place: str
    seen: datetime

    # What is looked for, what is sorted by, and `_id` in the direction of the sort.
    _indexes = [Index("place", "-seen", "-_id")]


def listed(place: str, after: str | None = None, before: str | None = None) -> tuple[int, str]:
    """Return status and body of an answer."""
    try:
        page = Sighting.page(Q.place == place, sort="-seen", size=10, after=after, before=before)
    except lm.PageError as error:
        return 400, json.dumps({"error": str(error)})
    body = {
        "sightings": [sighting.to_json_type(datetimes="iso") for sighting in page],
        "next": page.next,
        "previous": page.previous,
    }
    return 200, json.dumps(body)


def main() -> None:
    # The secret keeps others from making tokens up; all processes of a service share it.
    lm.connect(os.environ.get("LOOM_URI", "embedded:memory"), page_secret="from the settings")
    start = datetime(2024, 3, 10, tzinfo=timezone.utc)
    Sighting.insert_many(
        [Sighting(place="Loch", seen=start + timedelta(hours=n // 3)) for n in range(25)]
    )

    pages = []
    token = None
    while True:
        status, answer = listed("Loch", after=token)
        assert status == 200
        pages.append(json.loads(answer))
        token = pages[-1]["next"]
        if token is None:
            break
        # What happens between two pages moves nothing.
        Sighting(place="Loch", seen=start + timedelta(days=9)).insert()

    assert [len(page["sightings"]) for page in pages] == [10, 10, 5]
    assert len({sighting["_id"] for page in pages for sighting in page["sightings"]}) == 25

    _, answer = listed("Loch", before=pages[2]["previous"])
    assert json.loads(answer)["sightings"] == pages[1]["sightings"]

    status, answer = listed("Fjord", after=pages[0]["next"])
    assert status == 400
    print(json.loads(answer)["error"])
    lm.close()


if __name__ == "__main__":
    main()
