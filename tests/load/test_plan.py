"""What users do is known in advance, from the seed alone."""

from itertools import islice, pairwise, takewhile

import pytest

from agent_ws.load.plan import Plan, Step, offered, steps

PLAN = Plan(interrupts=0.25, drops=0.5)


def of(plan: Plan, user: int = 0, count: int = 4000) -> list[Step]:
    return list(islice(steps(plan, user), count))


def test_the_same_seed_does_the_same_and_another_one_does_not() -> None:
    assert of(PLAN) == of(PLAN)
    assert of(PLAN) != of(PLAN, user=1)
    assert of(PLAN) != of(Plan(interrupts=0.25, drops=0.5, seed=2))


def test_messages_are_an_answer_and_a_pause_apart() -> None:
    found = of(Plan(interrupts=0, think=3))
    gaps = [b.due - a.due for a, b in pairwise(found)]
    assert min(gaps) >= 2 + 1.5
    assert max(gaps) <= 2 + 4.5
    assert sum(gaps) / len(gaps) == pytest.approx(2 + 3, rel=0.02)
    assert found[0].due < 5


def test_who_stops_an_answer_goes_on_sooner() -> None:
    found = of(Plan(interrupts=1, think=1e-9), count=100)
    assert all(b.due - a.due == pytest.approx(a.stop) for a, b in pairwise(found))


def test_as_many_are_stopped_and_lost_as_was_asked_for_within_their_answer() -> None:
    found = of(PLAN)
    stopped = [step.stop for step in found if step.stop is not None]
    assert len(stopped) / len(found) == pytest.approx(0.25, abs=0.03)
    assert sum(step.drop is not None for step in found) / len(found) == pytest.approx(0.5, abs=0.03)
    assert all(0 <= stop < PLAN.answer for stop in stopped)
    assert all(step.drop < (step.stop or PLAN.answer) for step in found if step.drop is not None)


@pytest.mark.parametrize("seconds", [0.0, 1.0, 7.5])
def test_what_is_offered_is_what_is_due_token_by_token(seconds: float) -> None:
    plan = Plan(connections=7, interrupts=0.5, warm=3, seconds=20)
    due = 0
    for user in range(plan.connections):
        for step in takewhile(lambda step: step.due < 3 + seconds, steps(plan, user)):
            for k in range(plan.tokens):
                after = k / plan.rate
                due += (step.stop is None or after < step.stop) and 3 <= step.due + after < 3 + seconds
    assert abs(offered(plan, seconds) - due) <= 2, "a token at the very edge may be rounded to either side"
