"""Times, counted in buckets that are never wider than a 64th of what is in them.

The one rule: a histogram of any number of times is small, and the sum of two is a histogram: processes and seconds are
added up. The buckets are those of HdrHistogram: powers of two, each cut into equal parts. Percentiles are therefore too
high by at most 1.6 %, the largest is exact.
"""

from collections.abc import Iterator

from msgspec import Struct

BITS = 6
"""Each power of two has 2^BITS buckets."""
MICRO = 1_000_000


def _bucket(us: int) -> int:
    shift = max(0, us.bit_length() - BITS - 1)
    return (shift << BITS) + (us >> shift)


def _upper(bucket: int) -> int:
    """The highest microsecond of a bucket."""
    shift = max(0, (bucket >> BITS) - 1)
    return ((bucket - (shift << BITS) + 1) << shift) - 1


class Histogram(Struct):
    """Times in seconds, kept in microseconds. `weigh` counts by their length, else each counts one."""

    counts: dict[int, int] = {}
    n: int = 0
    """How many times were added, whatever each counts."""
    most: float = 0.0

    def add(self, seconds: float, weight: int = 1) -> None:
        """Add one. A negative one, which only clocks can make, counts as none."""
        us = max(0, int(seconds * MICRO))
        bucket = _bucket(us)
        self.counts[bucket] = self.counts.get(bucket, 0) + weight
        self.n += 1
        self.most = max(self.most, seconds)

    def add_pause(self, seconds: float) -> None:
        """Add a pause by its length: the percentile is then of the time, not of the pauses. Ten pauses of 1 ms weigh as
        much as one of 10.
        """
        self.add(seconds, max(1, int(seconds * MICRO)))

    def join(self, other: "Histogram") -> None:
        """Add all that is in `other`."""
        for bucket, count in other.counts.items():
            self.counts[bucket] = self.counts.get(bucket, 0) + count
        self.n += other.n
        self.most = max(self.most, other.most)

    def at(self, share: float) -> float:
        """The seconds within which `share` (0 to 1) of all is. 0 where there is nothing."""
        wanted = share * sum(self.counts.values())
        seen = 0
        for bucket in sorted(self.counts):
            seen += self.counts[bucket]
            if seen >= wanted:
                return min(_upper(bucket) / MICRO, self.most)
        return self.most

    def curve(self) -> Iterator[tuple[float, float]]:
        """The share of all that is within so many seconds, bucket by bucket."""
        total = sum(self.counts.values())
        seen = 0
        for bucket in sorted(self.counts):
            seen += self.counts[bucket]
            yield seen / total, min(_upper(bucket) / MICRO, self.most)
