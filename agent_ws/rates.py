"""How much of something in a time: token buckets.

The one rule: time is an argument, in seconds of one clock that never goes back, so nothing here waits or measures.

A bucket holds `burst` tokens at most and gets `per_second` of them back: who was quiet may hurry for a while.
"""

from msgspec import Struct

from .settings import Limits

STRIKES_PER_S = 1.0
"""Overruns that are forgiven in a second."""
FRAGMENT = 1 / 16
"""What one fragment of a message costs, in frames: a message of very many is work, and a few are nothing."""
ADDRESSES = 65_536
"""Addresses that are remembered at once; beyond it the oldest is forgotten, which can only be in its favour."""


class Rate(Struct, frozen=True):
    """What a bucket is made of."""

    per_second: float
    burst: float


class Bucket:
    """What one client may still do."""

    __slots__ = ("_at", "_rate", "_tokens")

    def __init__(self, rate: Rate, now: float) -> None:
        self._rate = rate
        self._tokens = rate.burst
        self._at = now

    def take(self, now: float, cost: float = 1.0) -> bool:
        """Take `cost` tokens, if they are there. What costs more than the bucket holds takes all of them."""
        self._fill(now)
        cost = min(cost, self._rate.burst)
        if self._tokens < cost:
            return False
        self._tokens -= cost
        return True

    def wait(self, now: float, cost: float = 1.0) -> float:
        """Seconds until `take` succeeds."""
        self._fill(now)
        return max(0.0, min(cost, self._rate.burst) - self._tokens) / self._rate.per_second

    def full(self, now: float) -> bool:
        """Whether it is as good as a new one."""
        self._fill(now)
        return self._tokens >= self._rate.burst

    def _fill(self, now: float) -> None:
        if now > self._at:
            self._tokens = min(self._rate.burst, self._tokens + (now - self._at) * self._rate.per_second)
            self._at = now


class Buckets:
    """A bucket for each address."""

    def __init__(self, rate: Rate, most: int = ADDRESSES) -> None:
        self._rate = rate
        self._most = most
        self._buckets: dict[str, Bucket] = {}

    def take(self, key: str, now: float) -> float:
        """Take a token of `key`'s. Returns 0.0 or, where there is none, the seconds until there is."""
        bucket = self._buckets.get(key)
        if bucket is None:
            if len(self._buckets) >= self._most:
                del self._buckets[next(iter(self._buckets))]
            bucket = self._buckets[key] = Bucket(self._rate, now)
        return 0.0 if bucket.take(now) else bucket.wait(now)

    def sweep(self, now: float) -> None:
        """Forget those that are as good as new."""
        for key in [key for key, bucket in self._buckets.items() if bucket.full(now)]:
            del self._buckets[key]

    def __len__(self) -> int:
        return len(self._buckets)


class Meter:
    """What one connection sends: its frames, their bytes, and how often it was beyond their limits."""

    __slots__ = ("_bytes", "_frames", "_strikes", "heard")

    def __init__(self, limits: Limits, now: float) -> None:
        self._frames = Bucket(Rate(limits.frame_rate, limits.frame_burst), now)
        self._bytes = Bucket(Rate(limits.byte_rate, limits.byte_burst), now)
        self._strikes = Bucket(Rate(STRIKES_PER_S, limits.overruns), now)
        self.heard = now
        """When it last sent anything."""

    def over(self, now: float, size: int = 0, frames: float = 1.0) -> bool:
        """Count `frames` frames of `size` bytes together. Whether that is beyond a limit."""
        self.heard = now
        in_time = self._frames.take(now, frames)
        return not (self._bytes.take(now, size) and in_time)

    def strike(self, now: float) -> bool:
        """Count an overrun. Whether it was the last that is borne: with 100 of them, the hundredth."""
        self._strikes.take(now)
        return self._strikes.wait(now) > 0
