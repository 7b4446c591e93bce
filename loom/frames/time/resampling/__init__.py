"""Resampling: moments gathered by the frames of the calendar, on the server and here."""

from .local import resample_columns

__all__ = ["resample_columns"]
