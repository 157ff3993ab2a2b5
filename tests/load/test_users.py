"""What users under load measure, in virtual time: each figure can be worked out on paper."""

import asyncio

import pytest
from msgspec.structs import replace
from pretended import WIRE_S, Crowd, Pretended

from agent_ws.load.histogram import Histogram
from agent_ws.load.plan import Plan, offered
from agent_ws.load.tally import Figure, Tally

pytestmark = pytest.mark.virtual

PLAN = Plan(connections=10, tokens=40, rate=20, think=1, interrupts=0, drops=0, seconds=20, warm=5)
BUCKET = 1 / 64
"""How much too high a percentile may be."""


async def measured(plan: Plan, server: Pretended) -> Tally:
    crowd = Crowd(plan, server)
    await crowd.run()
    return crowd.board.tally


def of(tally: Tally, figure: Figure) -> Histogram:
    return tally.times.get(figure, Histogram())


async def test_a_server_that_keeps_its_time_is_as_late_as_the_wire() -> None:
    crowd = Crowd(PLAN, Pretended())
    await crowd.run()
    tally = crowd.board.tally
    for figure in ("first", "late"):
        times = of(tally, figure)
        assert times.at(0) == pytest.approx(WIRE_S, rel=BUCKET)
        assert times.most == pytest.approx(WIRE_S, rel=BUCKET)
    assert of(tally, "between").at(0) == pytest.approx(1 / PLAN.rate, rel=BUCKET)
    assert of(tally, "between").most == pytest.approx(1 / PLAN.rate)
    assert of(tally, "first").n == len(list(crowd.due())) == tally.counts["messages"]
    assert tally.faults == {}
    assert tally.counts["tokens"] == pytest.approx(offered(PLAN, PLAN.seconds), abs=PLAN.connections)
    assert not {"lost", "doubled", "unanswered", "behind"} & set(tally.counts)


async def test_a_stall_is_seen_by_all_who_came_in_it() -> None:
    begin, end = 10.0, 14.0
    crowd = Crowd(PLAN, Pretended(stalls=((begin, end),)))
    await crowd.run()
    tally = crowd.board.tally
    first, due = of(tally, "first"), list(crowd.due())
    assert first.n == len(due), "each message that was due is in the figure"
    # A message that was due in the stall waits for its end, and one that a user could not say for it no less.
    late = sorted(max(end - step.due, 0) if begin <= step.due < end else 0 for step in due)
    assert first.most >= late[-1]
    waited = sum(wait > 0.5 for wait in late)
    assert waited > 5
    seen = sum(n for bucket, n in first.counts.items() if bucket >= _bucket_of(0.5))
    assert seen >= waited
    # Of 20 seconds 4 were a stall: so a fifth of the tokens came late, and not only the one that each user waited for.
    assert of(tally, "late").at(0.9) > 1.5
    assert of(tally, "late").at(0.99) > 3.5
    assert of(tally, "between").at(0.9) > 3.5, "more than a tenth of the time was one pause"
    assert of(tally, "between").at(0.5) == pytest.approx(1 / PLAN.rate, rel=BUCKET)


def _bucket_of(seconds: float) -> int:
    histogram = Histogram()
    histogram.add(seconds)
    return next(iter(histogram.counts))


async def test_a_server_that_dies_has_not_answered_fast() -> None:
    crowd = Crowd(PLAN, Pretended(stalls=((15.0, 1e9),)))
    await crowd.run()
    tally = crowd.board.tally
    due = [step.due for step in crowd.due()]
    never = [moment for moment in due if moment >= 15]
    assert tally.counts["unanswered"] >= len(never) > 5
    assert of(tally, "first").n == len(due)
    closed = PLAN.warm + PLAN.seconds + PLAN.patience
    assert of(tally, "first").most == pytest.approx(closed - min(never), abs=0.02)
    assert of(tally, "late").at(0.9) > 5


async def test_what_users_do_is_the_same_whatever_the_server_does() -> None:
    calm, stalled = Pretended(), Pretended(stalls=((8.0, 9.0), (12.0, 15.0)))
    plan = replace(PLAN, interrupts=0.3)
    first, second = await asyncio.gather(measured(plan, calm), measured(plan, stalled))
    assert first.counts["messages"] == second.counts["messages"] > 50
    assert first.counts["stopped"] <= second.counts["stopped"] + 1
    assert second.counts["behind"] > 0


async def test_a_stop_is_timed_to_its_ack_and_to_its_receipt() -> None:
    server = Pretended()
    server.upstream = True
    crowd = Crowd(replace(PLAN, interrupts=1), server)
    await crowd.run()
    tally = crowd.board.tally
    for figure in ("stop", "closed", "settled"):
        assert of(tally, figure).n == tally.counts["stopped"] > 50
        assert of(tally, figure).most == pytest.approx(WIRE_S, rel=BUCKET)
    assert not {"lost", "doubled"} & set(tally.counts)


async def test_who_loses_patience_in_a_stall_is_not_left_out() -> None:
    crowd = Crowd(replace(PLAN, interrupts=1), Pretended(stalls=((10.0, 14.0),)))
    await crowd.run()
    assert of(crowd.board.tally, "first").n == len(list(crowd.due()))
    assert of(crowd.board.tally, "first").at(0.9) > 1


async def test_a_stop_in_a_stall_waits_for_its_end() -> None:
    tally = await measured(replace(PLAN, interrupts=1), Pretended(stalls=((10.0, 14.0),)))
    assert of(tally, "stop").at(0.99) > 2


async def test_a_stop_that_is_never_heard_counts_as_long_as_it_waited() -> None:
    tally = await measured(replace(PLAN, interrupts=1), Pretended(stalls=((15.0, 1e9),)))
    assert of(tally, "stop").most > PLAN.patience


async def test_a_provider_that_stays_open_is_a_fault() -> None:
    server = Pretended()
    server.upstream = False
    tally = await measured(replace(PLAN, interrupts=1), server)
    assert "closed" not in tally.times
    fault = "a receipt says that the provider's connection is still open"
    assert set(tally.faults) == {fault}
    assert tally.faults[fault] >= of(tally, "settled").n > 50


async def test_a_lost_connection_comes_back_with_all_that_it_missed() -> None:
    tally = await measured(replace(PLAN, drops=1), Pretended())
    assert of(tally, "resume").n == tally.counts["dropped"] > 50
    assert of(tally, "resume").most == pytest.approx(2 * WIRE_S, rel=0.1), "the handshake, and the `session`"
    assert not {"lost", "doubled", "resets", "unanswered"} & set(tally.counts)
    assert tally.faults == {}


@pytest.mark.parametrize("wire", ["agent_ws", "plain"])
async def test_stops_and_losses_at_once_lose_nothing(wire: str) -> None:
    plan = replace(PLAN, interrupts=0.5, drops=0.5 if wire == "agent_ws" else 0, think=0.01)
    tally = await measured(plan, Pretended(wire))
    assert tally.faults == {}
    assert not {"lost", "doubled", "unanswered"} & set(tally.counts)


async def test_a_token_that_never_comes_is_missed() -> None:
    server = Pretended("plain")
    server.skipped = {7}
    tally = await measured(PLAN, server)
    assert tally.counts["lost"] >= tally.counts["answers"] - PLAN.connections > 0


async def test_a_message_whose_answer_was_lost_is_said_again_by_the_same_name() -> None:
    server = Pretended()
    crowd = Crowd(replace(PLAN, connections=1), server)
    running = asyncio.ensure_future(crowd.run())
    await asyncio.sleep(PLAN.warm)
    server.deaf = True
    while not crowd.board.tally.counts.get("messages"):  # noqa: ASYNC110 - time is virtual
        await asyncio.sleep(0.01)
    said = len([frame for frame in server.heard if frame.get("type") == "message"])
    server.deaf = False
    server.links[-1].break_off()
    await running
    again = [frame["id"] for frame in server.heard if frame.get("type") == "message"]
    assert len(again) > said
    assert len(set(again)) == len(again), "the one that got lost was heard once"
    assert "unanswered" not in crowd.board.tally.counts
    assert crowd.board.tally.faults == {"the connection was lost": 1}


async def test_a_reset_brings_all_again_and_only_the_answer_that_goes_counts() -> None:
    server = Pretended()
    crowd = Crowd(replace(PLAN, interrupts=0.2), server)
    running = asyncio.ensure_future(crowd.run())
    for moment in (8, 12, 16):
        await asyncio.sleep(moment - server.now())
        server.epoch = f"e{moment}"
        for link in [link for link in server.links if not link.gone]:
            link.break_off()
    await running
    tally = crowd.board.tally
    assert tally.counts["resets"] == 3 * PLAN.connections
    assert tally.faults == {"the connection was lost": 3 * PLAN.connections}
    assert not {"doubled", "lost", "unanswered"} & set(tally.counts)
    assert of(tally, "first").n == len(list(crowd.due())), "what comes again is not timed again"
    assert of(tally, "first").most < 1
    assert tally.counts["tokens"] <= offered(crowd.plan, crowd.plan.seconds)


async def test_a_refusal_is_counted_and_tried_again() -> None:
    server = Pretended()
    server.refusals = ["refused with HTTP 503 (too_many_connections)"] * 3
    tally = await measured(replace(PLAN, connections=1), server)
    assert tally.faults == {"refused with HTTP 503 (too_many_connections)": 3}
    assert "unanswered" not in tally.counts


async def test_who_is_not_let_in_does_not_come_back() -> None:
    server = Pretended()
    server.refusals = ["refused with HTTP 401 (unauthorized)"] * 99
    tally = await measured(replace(PLAN, connections=1), server)
    assert tally.faults == {"refused with HTTP 401 (unauthorized)": 1}
    assert tally.counts["unanswered"] > 3, "whoever waits for nothing waits all the same"
