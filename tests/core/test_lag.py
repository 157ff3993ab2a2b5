"""The event loop's lag, without a loop."""

from agent_ws.lag import CALM, WINDOW, Lag


def test_it_refuses_at_the_limit_and_takes_up_again_only_after_a_calm() -> None:
    lag = Lag(limit=1.0)
    assert [lag.note(late) for late in (0.0, 0.9, 1.0, 1.0)] == [False, False, True, False]
    assert lag.refusing
    for _ in range(CALM - 1):
        assert not lag.note(0.1)
    assert not lag.note(0.6), "half the limit is not calm: it begins anew"
    for _ in range(CALM - 1):
        assert not lag.note(0.49)
        assert lag.refusing
    assert lag.note(0.0)
    assert not lag.refusing


def test_it_tells_the_last_the_worst_and_the_p99_of_a_window() -> None:
    lag = Lag(limit=100.0)
    assert lag.lateness == (0, 0, 0)
    for late in range(100):
        lag.note(late)
    assert lag.lateness == (99, 98, 99)
    for _ in range(WINDOW):
        lag.note(0.5)
    assert lag.lateness == (0.5, 0.5, 0.5)
    lag.note(-1.0)
    assert lag.lateness.last == 0, "a timer that came early was not late"
