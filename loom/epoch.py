"""A number that changes with everything that decides what a call of a class does.

What was worked out for a class holds as long as the number is the same.
"""

from __future__ import annotations

import os

__all__ = ["advance"]

current = 0


def advance() -> None:
    """Note that a class, a setting of one, a listener or a connection has changed."""
    global current
    current += 1


if hasattr(os, "register_at_fork"):
    # A child process makes clients of its own.
    os.register_at_fork(after_in_child=advance)
