"""Token buckets, by a clock that the test owns."""

from collections.abc import Sequence

import pytest

from agent_ws.rates import FRAGMENT, Bucket, Buckets, Meter, Rate
from agent_ws.settings import Limits

RATE = Rate(per_second=2, burst=4)

# (time, cost) of each try, and what came of it
COURSES: dict[str, Sequence[tuple[float, float, bool]]] = {
    "a burst, and no more": [(0, 1, True)] * 4 + [(0, 1, False)],
    "they come back with time": [(0, 4, True), (0.4, 1, False), (0.5, 1, True), (0.5, 1, False), (1.5, 2, True)],
    "a try that fails costs nothing": [(0, 4, True), (0.25, 1, False), (0.5, 1, True)],
    "no more than the burst is saved": [(100, 4, True), (100, 1, False)],
    "what is bigger than the bucket takes all of it": [(0, 9, True), (1, 9, False), (2, 9, True), (2, 1, False)],
    "a fraction": [(0, 3.5, True), (0, 1, False), (0, 0.5, True)],
    "a clock that stands": [(1, 4, True), (1, 1, False)],
    "a clock that goes back": [(1, 4, True), (0, 1, False), (1.5, 1, True)],
}


@pytest.mark.parametrize("name", COURSES)
def test_a_bucket(name: str) -> None:
    bucket = Bucket(RATE, 0.0)
    assert [(now, cost, bucket.take(now, cost)) for now, cost, _ in COURSES[name]] == COURSES[name]


def test_it_says_how_long_to_wait_and_that_is_true() -> None:
    bucket = Bucket(RATE, 0.0)
    assert bucket.wait(0) == 0
    bucket.take(0, 4)
    wait = bucket.wait(0.25)
    assert wait == 0.25
    assert not bucket.take(0.25 + wait - 0.001)
    assert bucket.take(0.25 + wait)


def test_each_address_has_a_bucket() -> None:
    buckets = Buckets(RATE)
    assert [buckets.take("a", 0) for _ in range(5)] == [0, 0, 0, 0, 0.5]
    assert buckets.take("b", 0) == 0


def test_addresses_that_were_quiet_are_forgotten() -> None:
    buckets = Buckets(RATE)
    buckets.take("a", 0)
    for _ in range(4):
        buckets.take("b", 0)
    buckets.sweep(0.4)
    assert len(buckets) == 2
    buckets.sweep(0.5)
    assert len(buckets) == 1
    assert buckets.take("b", 0.5) == 0, "it was not the one"
    assert buckets.take("b", 0.5) > 0
    buckets.sweep(10)
    assert len(buckets) == 0


def test_addresses_have_a_limit_and_the_oldest_goes() -> None:
    buckets = Buckets(RATE, most=2)
    for _ in range(4):
        buckets.take("a", 0)
    for key in "bc":
        buckets.take(key, 0)
    assert len(buckets) == 2
    assert buckets.take("a", 0) == 0


def test_a_meter_counts_frames_and_bytes_and_what_was_beyond() -> None:
    limits = Limits(frame_rate=10, frame_burst=5, byte_rate=100, byte_burst=1000, overruns=3)
    meter = Meter(limits, 0.0)
    assert [meter.over(0.0) for _ in range(6)] == [False] * 5 + [True]
    assert meter.over(1.0, 1000) is False
    assert meter.over(1.0, 1) is True, "bytes count too"
    assert meter.over(2.0, 100) is False
    assert [meter.strike(2.0) for _ in range(3)] == [False, False, True]
    assert meter.strike(4.0) is False, "one a second is forgiven"
    assert meter.strike(4.0) is True


def test_a_frame_beyond_the_bytes_counts_as_a_frame() -> None:
    meter = Meter(Limits(frame_rate=1, frame_burst=2, byte_rate=1, byte_burst=10), 0.0)
    assert [meter.over(0.0, size) for size in (10, 1, 0)] == [False, True, True]


def test_fragments_count_for_less() -> None:
    meter = Meter(Limits(frame_rate=1, frame_burst=2), 0.0)
    assert [meter.over(0.0, frames=FRAGMENT) for _ in range(33)] == [False] * 32 + [True]


def test_a_meter_knows_when_it_last_heard_anything() -> None:
    meter = Meter(Limits(), 5.0)
    assert meter.heard == 5.0
    meter.over(7.0)
    assert meter.heard == 7.0
