"""Percentiles by buckets, beside those of a sorted list."""

from hypothesis import given
from hypothesis import strategies as st

from agent_ws.load.histogram import Histogram

TIMES = st.lists(st.floats(min_value=0, max_value=4000), min_size=1, max_size=60)


def filled(times: list[float]) -> Histogram:
    histogram = Histogram()
    for seconds in times:
        histogram.add(seconds)
    return histogram


@given(TIMES, st.floats(min_value=0.01, max_value=1))
def test_a_percentile_is_at_most_a_64th_too_high(times: list[float], share: float) -> None:
    ordered = sorted(times)
    real = next(value for i, value in enumerate(ordered) if i + 1 >= share * len(ordered))
    found = filled(times).at(share)
    assert real - 1e-6 <= found <= real * (1 + 1 / 64) + 1e-6
    assert filled(times).most == max(times)
    assert max(times) - filled(times).at(1) <= 1e-6


@given(TIMES, TIMES)
def test_a_sum_is_as_if_all_had_been_added_to_one(first: list[float], second: list[float]) -> None:
    joined = filled(first)
    joined.join(filled(second))
    assert joined == filled(first + second)


def test_pauses_weigh_as_much_as_they_are_long() -> None:
    histogram = Histogram()
    for _ in range(100):
        histogram.add_pause(0.01)  # a second of them
    histogram.add_pause(1.0)
    assert histogram.n == 101
    assert 0.01 <= histogram.at(0.49) <= 0.0102
    assert histogram.at(0.51) == 1.0


def test_a_curve_rises_to_all() -> None:
    curve = list(filled([0.001, 0.002, 0.002, 0.5]).curve())
    assert [share for share, _ in curve] == [0.25, 0.75, 1.0]
    assert curve[-1] == (1.0, 0.5)
    assert Histogram().at(0.5) == 0.0
