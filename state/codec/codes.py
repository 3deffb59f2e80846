"""The kinds of values that msgpack does not know, each with the number that stands for it in a file.

A number keeps its meaning for ever: files hold it.
"""

from __future__ import annotations

from enum import IntEnum


class Code(IntEnum):
    """What a msgpack extension holds."""

    TUPLE = 1
    PAIRS = 2  # a dict whose keys are not all text
    SET = 3
    FROZENSET = 4
    DEQUE = 5
    BIG_INT = 6
    SURROGATES = 7  # text that UTF-8 cannot hold
    BYTEARRAY = 8
    MEMORYVIEW = 9
    COMPLEX = 10
    RANGE = 11
    SLICE = 12
    ELLIPSIS = 13
    DECIMAL = 14
    FRACTION = 15
    DATETIME = 16
    DATE = 17
    TIME = 18
    TIMEDELTA = 19
    TIMEZONE = 20
    ZONE_INFO = 21
    PYDANTIC_OFFSET = 22  # the time zone of a datetime that pydantic has read
    UUID = 23
    PATH = 24
    PATTERN = 25
    IP_ADDRESS = 26
    URL = 27
    ORDERED_DICT = 28
    COUNTER = 29
    DEFAULT_DICT = 30
    NAMESPACE = 31
    MAPPING_PROXY = 32
    ARRAY = 33
    NUMPY_ARRAY = 34
    NUMPY_SCALAR = 35
    CLASS = 36  # a class, or a type with arguments such as list[int]
    ENUM = 37
    MODEL = 38  # a pydantic model
    OBJECT = 39  # a dataclass, or an object of another class that is known by its attributes
    EXTENDED = 40  # an object of a subclass of str, int, list and the like
    BLOB = 41  # the reference to bytes that are kept by themselves
    REFERRING = 42  # text with references in the place of base64
