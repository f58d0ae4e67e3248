"""What was read or made, as long as there is room: the last used stays, and what two want at once is made once."""

import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

Made = TypeVar("Made")


class Kept:
    """Values by their keys, together of so many bytes at most, as far as these can be counted."""

    def __init__(self, most_bytes: int) -> None:
        self._most, self._used = most_bytes, 0
        self._values: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._making: dict[Hashable, threading.Lock] = {}
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """The value of a key; others who want it meanwhile wait for it, and make it themselves where that failed.

        What says that it is `passing` is given, and made anew for the next who asks.
        """
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                found: Made = self._values[key][0]
                return found
            turn = self._making.setdefault(key, threading.Lock())
        with turn:
            with self._lock:
                if key in self._values:
                    made: Made = self._values[key][0]
                    return made
            try:
                value = make()
                if not getattr(value, "passing", False):
                    self._keep(key, value)
            finally:
                with self._lock:
                    self._making.pop(key, None)
            return value

    def _keep(self, key: Hashable, value: Any) -> None:
        size = size_of(value)
        with self._lock:
            self._used += size - self._values.get(key, (None, 0))[1]
            self._values[key] = value, size
            while self._used > self._most and len(self._values) > 1:
                self._used -= self._values.popitem(last=False)[1][1]


def size_of(value: Any, depth: int = 3) -> int:
    """Bytes of a value, as far as it says; a thing of unknown size counts as what lies in it, to some depth."""
    if (size := getattr(value, "nbytes", None)) is not None:
        return int(size)
    if isinstance(value, (bytes, str)):
        return sys.getsizeof(value)
    inside: list[Any] = []
    if depth and isinstance(value, dict):
        inside = list(value.values())
    elif depth and isinstance(value, (list, tuple)):
        inside = list(value)
    elif depth and hasattr(value, "__dict__"):
        inside = list(vars(value).values())
    return 500 + sum(size_of(each, depth - 1) for each in inside)
