"""Frames out of the texts that `str` writes of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from ...errors import TimeFrameError
from .zones import UTC, TimeZone, name_of, zone_of

__all__ = ["parsed"]

_ZONE = re.compile(r"^(.*?)(?:\[(.+)\])?$", re.DOTALL)


def parsed(
    place: str, kinds: Sequence[Any], others: Sequence[Any], text: Any, tzone: TimeZone | None
) -> Any:
    """Return the frame that `str` wrote as a text.

    Args:
        place: for errors.
        kinds: the classes of frames that it may be of.
        others: all that there are, for hints.
        text: the text; a zone may follow in brackets.
        tzone: the zone, if the text names none; by default UTC.

    Raises:
        TimeFrameError: it is no frame of these kinds, or names what the zone does not have.
    """
    if not isinstance(text, str):
        raise TimeFrameError(f"{place}: expected text, got {text!r}")
    body, named = _ZONE.fullmatch(text.strip()).groups()  # type: ignore[union-attr]
    zone = zone_of(named or tzone or UTC, f"{place}.tzone")
    if named and tzone and name_of(zone_of(tzone, f"{place}.tzone")) != name_of(zone):
        raise TimeFrameError(f"{place}: expected one zone, got {text!r} and {tzone!r}")
    for kind in kinds:
        match = re.fullmatch(kind._form, body, re.ASCII)
        if match is not None:
            try:
                return kind._parsed(match.groups(), zone)
            except TimeFrameError as error:
                raise TimeFrameError(f"{place}: {text!r}: {error}") from None
            except (ValueError, OverflowError) as error:
                raise TimeFrameError(f"{place}: {text!r} is no time frame: {error}") from None
    found = [kind.__name__ for kind in others if re.fullmatch(kind._form, body, re.ASCII)]
    hint = f"; that is a {found[0]}, TimeFrame.parse takes all kinds" if found else ""
    own = "" if kinds is others else " of its own kind"
    raise TimeFrameError(
        f"{place}: expected text such as '2024-03-10', '2024-W10' or '2024-Q3'{own}, got "
        f"{text!r}{hint}"
    )
