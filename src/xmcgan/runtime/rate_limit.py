"""Limits how much each client of a server may ask for in a given time."""

import time
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock


class RateLimit:
    """A token bucket for each key; the least recently used keys are forgotten.

    Args:
        burst: most that a key may take at once.
        per_second: what a key may take per second in the long run.
        keys: how many keys are remembered.
        clock: returns the time in seconds; ``time.monotonic`` unless given.
    """

    def __init__(
        self, burst: float, per_second: float, *, keys: int = 10_000, clock: Callable[[], float] | None = None
    ):
        self.burst, self.per_second, self.keys = burst, per_second, keys
        self.clock = clock or time.monotonic
        self.buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # what was left, and when
        self.lock = Lock()

    def take(self, key: str, amount: float = 1) -> float:
        """Takes an amount out of a key's bucket.

        Returns:
            0, or the seconds until the bucket holds that much; then nothing is taken.
        """
        with self.lock:
            now = self.clock()
            left, since = self.buckets.pop(key, (self.burst, now))
            left = min(self.burst, left + (now - since) * self.per_second)
            missing = max(0.0, amount - left)
            self.buckets[key] = (left if missing else left - amount, now)
            if len(self.buckets) > self.keys:
                self.buckets.popitem(last=False)
            return missing / self.per_second
