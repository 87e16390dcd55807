"""Aimwell (准星): precision marketing that closes the loop, from goal to measured incremental profit."""

__version__ = "0.1.0"
