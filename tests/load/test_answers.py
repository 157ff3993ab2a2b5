"""What is measured of an answer and done by a user, frame by frame, with time in the test's own hand."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from agent_ws.load.answer import Answer, Board
from agent_ws.load.link import Link, Listener
from agent_ws.load.plan import Plan, steps
from agent_ws.load.tally import Figure
from agent_ws.load.user import User
from agent_ws.load.work import TOKEN

PLAN = Plan(connections=1, tokens=10, rate=10, think=0.01, interrupts=0, drops=0, seconds=100, warm=10)
TEXT = json.dumps({"type": "content", "seq": 1, "data": TOKEN}, separators=(",", ":")).encode()


def board(plan: Plan = PLAN) -> Board:
    return Board(plan, plan.warm, plan.warm + plan.seconds)


def answer(due: float = 20.0) -> Answer:
    return Answer(board(), due, "m1")


def most(found: Board, figure: Figure) -> float:
    return found.tally.times[figure].most


def told(of: Answer, *moments: float) -> Answer:
    for moment in moments:
        of.text(TEXT, moment)
    return of


def test_a_token_is_late_by_its_own_moment() -> None:
    one = told(answer(), 20.5, 20.5, 20.6)
    late = one.board.tally.times["late"]
    assert late.n == 3
    assert late.most == pytest.approx(0.5)
    assert late.at(0.6) == pytest.approx(0.4, rel=0.02)
    assert most(one.board, "first") == pytest.approx(0.5)


def test_a_pause_lies_between_texts_that_follow_each_other() -> None:
    one = told(answer(), 20.0, 20.3)
    one.broken()  # a tool, or a lost connection
    told(one, 25.0, 25.1)
    assert one.board.tally.times["between"].n == 2
    assert most(one.board, "between") == pytest.approx(0.3)


def test_an_ack_behind_the_end_is_none() -> None:
    one = told(answer(), 20.0)
    one.stop(20.5)
    one.done(20.6)
    one.interrupted(20.7)
    assert "stop" not in one.board.tally.times


def test_what_comes_again_is_measured_once() -> None:
    one = told(answer(), 20.0, 20.1)
    one.again()
    told(one, 25.0, 25.0, 25.1)
    assert (one.tokens, one.timed) == (3, 3)
    assert one.board.tally.counts["tokens"] == 3
    assert one.board.tally.times["first"].n == 1
    assert one.board.tally.times["late"].n == 3
    assert one.board.tally.times["late"].most == pytest.approx(4.9), "the third, which was due at 20.2"


def test_where_nobody_counts_tokens_what_comes_again_is_one_piece() -> None:
    one = Answer(board(Plan(message="hi", warm=10, seconds=100)), 20.0, "m1")
    told(one, 20.0, 20.1, 20.2)
    one.again()
    told(one, 25.0, 25.1)
    assert one.board.tally.counts["tokens"] == 4
    assert one.board.tally.times["first"].n == 1


def test_who_stops_before_the_first_token_has_waited_for_it() -> None:
    one = answer()
    one.stop(20.5)
    one.interrupted(24.0)
    assert most(one.board, "first") == pytest.approx(4.0), "until the server said anything"


@pytest.mark.parametrize(("came", "what"), [(9, {"lost": 1}), (10, {}), (12, {"doubled": 2})])
def test_an_answer_has_all_its_tokens_once(came: int, what: dict[str, int]) -> None:
    one = told(answer(), *[20.0] * came)
    one.done(21.0)
    counts = one.board.tally.counts
    assert {key: counts[key] for key in ("lost", "doubled") if key in counts} == what


@pytest.mark.parametrize(("came", "what"), [(3, {"lost": 1}), (4, {}), (5, {"doubled": 1})])
def test_an_answer_that_was_stopped_has_what_its_receipt_says(came: int, what: dict[str, int]) -> None:
    one = told(answer(), *[20.0] * came)
    one.stop(20.3)
    one.interrupted(20.4)
    one.receipt(20.5, 4 * len(TOKEN), closed=None)
    counts = one.board.tally.counts
    assert {key: counts[key] for key in ("lost", "doubled") if key in counts} == what


def test_what_had_not_come_at_the_end_was_late_by_then() -> None:
    one = told(answer(109.5), 109.5)  # the window ends at 110
    one.leave(115.0)
    late = one.board.tally.times["late"]
    assert late.n == 5, "the tokens that were due in the window: at 109.5 the first, at 109.9 the last"
    assert late.most == pytest.approx(5.4)
    assert most(one.board, "between") == pytest.approx(5.5), "the pause is not over"


def test_what_was_complete_had_no_pause_at_the_end() -> None:
    one = told(answer(109.9), 109.95)
    assert one.complete
    one.leave(115.0)
    assert "between" not in one.board.tally.times
    assert one.board.tally.times["late"].n == 1


# What a user does


class Later:
    """A call that time will bring."""

    def __init__(self, when: float, call: Callable[[], None]) -> None:
        self.when = when
        self.call = call
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Hand(Link):
    """Time, and a connection on which the test speaks for the server."""

    def __init__(self) -> None:
        self.time = 0.0
        self.sent: list[dict[str, Any]] = []
        self.user: Listener
        self.links: list[Listener] = []
        self._timers: list[Later] = []

    def now(self) -> float:
        return self.time

    def at(self, when: float, call: Callable[[], None]) -> Later:
        self._timers.append(Later(when, call))
        return self._timers[-1]

    def connect(self, listener: Listener) -> Link:
        self.user = listener
        self.links.append(listener)
        return self

    def send(self, data: bytes) -> None:
        self.sent.append({"type": "message"} if data.startswith(b"GET") else json.loads(data))

    def cut(self) -> None:
        pass

    def go(self, to: float) -> None:
        """Let time pass."""
        while due := [timer for timer in self._timers if timer.when <= to]:
            first = min(due, key=lambda timer: timer.when)
            self._timers.remove(first)
            self.time = max(self.time, first.when)
            if not first.cancelled:
                first.call()
        self.time = to

    def say(self, **frame: Any) -> None:
        self.user.received(json.dumps(frame, separators=(",", ":")).encode(), self.time)

    def kinds(self) -> list[str]:
        return [frame.get("type", "message") for frame in self.sent]


def begun(plan: Plan, wire: str = "agent_ws") -> tuple[Hand, User, Board]:
    """A user whose connection is open and whose first message was said."""
    hand, found = Hand(), board(plan)
    user = User(0, found, wire, hand)
    user.start(0.0)
    user.opened()
    if wire == "agent_ws":
        hand.say(type="session", session="s", epoch="e", token="t", after=0)
    hand.go(next(steps(plan, 0)).due)
    assert hand.kinds()[-1] == "message"
    return hand, user, found


STOPPING = Plan(connections=1, tokens=10, rate=10, think=0.01, interrupts=1, drops=0, seconds=100, warm=0.001)


def test_a_stop_that_crossed_the_end_is_waited_for_where_it_names_no_run() -> None:
    hand, _, found = begun(STOPPING, "plain")
    hand.say(type="content", data=TOKEN)
    hand.go(hand.time + 1)
    assert hand.kinds() == ["message", "interrupt"]
    hand.say(type="done")
    hand.go(hand.time + 10)
    assert hand.kinds() == ["message", "interrupt"], "the next message's answer would be ended by this Stop's ack"
    hand.say(type="interrupted")
    assert hand.kinds() == ["message", "interrupt", "message"]
    assert "stop" not in found.tally.times


def test_a_stop_that_was_lost_with_the_connection_is_told_again() -> None:
    hand, user, found = begun(STOPPING)
    hand.say(type="accepted", run="r1")
    hand.go(hand.time + 1)
    assert hand.sent[-1] == {"type": "interrupt", "run": "r1"}
    user.lost("the connection was lost")
    hand.go(hand.time + 1)
    user.opened()
    assert hand.sent[-1]["type"] == "hello"
    hand.say(type="session", session="s", epoch="e", after=0, resumed=True)
    assert hand.sent[-1] == {"type": "interrupt", "run": "r1"}
    assert hand.kinds().count("message") == 1, "the message was accepted"
    hand.say(type="interrupted", seq=5)
    assert most(found, "stop") > 1, "from when the user stopped it, not from when it was told again"


def test_text_behind_another_event_follows_nothing() -> None:
    hand, _, found = begun(STOPPING)
    for frame in ({"type": "content", "seq": 1, "data": TOKEN}, {"type": "tool_start", "seq": 2}):
        hand.say(**frame)
    hand.say(type="content", seq=3, data=TOKEN)
    assert "between" not in found.tally.times


def test_text_behind_a_lost_connection_follows_nothing() -> None:
    hand, user, found = begun(PLAN)
    hand.time = 20.0
    hand.say(type="content", seq=1, data=TOKEN)
    user.lost("the connection was lost")
    hand.say(type="content", seq=2, data=TOKEN)
    assert "between" not in found.tally.times


def test_who_connects_late_while_it_warms_up_has_missed_nothing() -> None:
    hand, found = Hand(), board()
    user = User(0, found, "plain", hand)
    user.start(0.0)
    hand.go(9.0)
    user.opened()
    assert hand.sent == []
    hand.go(next(step.due for step in steps(PLAN, 0) if step.due >= 9))
    assert hand.kinds() == ["message"]
    assert "behind" not in found.tally.counts


def test_who_connects_late_when_it_is_measured_has() -> None:
    hand, found = Hand(), board()
    user = User(0, found, "plain", hand)
    user.start(0.0)
    hand.go(30.0)
    user.opened()
    hand.say(type="content", data=TOKEN)
    assert hand.kinds() == ["message"]
    assert found.tally.counts["behind"] == 1
    assert most(found, "first") > 18


@pytest.mark.parametrize("plan", [STOPPING, replace(STOPPING, interrupts=0, drops=1)])
def test_a_wire_without_another_way_is_left_behind_the_first_text(plan: Plan) -> None:
    hand, _, found = begun(plan, "events" if plan.interrupts else "plain")
    hand.go(hand.time + 3)
    assert len(hand.links) == 1
    hand.say(type="content", data=TOKEN)
    assert len(hand.links) == 2
    assert most(found, "first") == pytest.approx(3)
    hand.user.opened()
    assert len(hand.sent) == 2
    hand.say(type="content", data=TOKEN)
    assert len(hand.links) == 2, "the next answer is not left for that"
