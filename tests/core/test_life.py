"""When a connection should end, by a clock that the test owns."""

import pytest

from agent_ws.life import Life
from agent_ws.settings import Timeouts

TIMES = Timeouts(idle=100, age=1000)


def life(chance: float = 0.0) -> Life:
    return Life(TIMES, 0.0, chance)


@pytest.mark.parametrize(("now", "over"), [(99, None), (100, "idle"), (5000, "old_connection")])
def test_who_says_nothing_and_is_told_nothing_is_idle(now: float, over: str | None) -> None:
    assert life().over(now, heard=0, sent=0, going=False) == over


def test_what_was_heard_or_sent_or_waited_for_is_a_sign_of_life() -> None:
    one = life()
    assert one.over(150, heard=51, sent=0, going=False) is None
    assert one.over(160, heard=51, sent=7, going=False) is None, "it was sent something since"
    assert one.over(259, heard=51, sent=7, going=False) is None
    assert one.over(260, heard=51, sent=7, going=False) == "idle"
    assert one.over(300, heard=51, sent=7, going=True) is None
    assert one.over(399, heard=51, sent=7, going=False) is None, "from the end of what it waited for"
    assert one.over(400, heard=51, sent=7, going=False) == "idle"


@pytest.mark.parametrize(
    ("chance", "now", "going", "over"),
    [
        (0, 999, False, None),
        (0, 1000, False, "old_connection"),
        (0, 1000, True, None),
        (0, 1999, True, None),
        (0, 2000, True, "old_connection"),
        (1, 899, False, None),
        (1, 900, False, "old_connection"),
        (1, 1999, True, None),
        (0.5, 949, False, None),
        (0.5, 950, False, "old_connection"),
    ],
)
def test_it_gets_old_and_an_answer_is_cut_off_only_at_twice_that(
    chance: float, now: float, over: str | None, *, going: bool
) -> None:
    assert life(chance).over(now, heard=now, sent=0, going=going) == over
