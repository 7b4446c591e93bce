"""Loads in parts: ranges of a key, read by processes or by Dask."""
