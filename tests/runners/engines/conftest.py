"""What the tests of engines share."""

from .places import place

__all__ = ["place"]
