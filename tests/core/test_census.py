"""Counting who is there."""

from agent_ws.census import Census


def test_each_address_has_its_limit_and_all_have_one() -> None:
    census = Census(total=3, each=2)
    assert [census.enter(key) for key in "aaabbb"] == [None, None, "address", None, "total", "total"]
    census.leave("a")
    assert [census.enter(key) for key in "ba"] == [None, "total"]
    assert census.total == 3


def test_an_address_that_many_share_is_limited_by_the_total_alone() -> None:
    census = Census(total=5, each=1)
    assert [census.enter("proxy", shared=True) for _ in range(6)] == [None] * 5 + ["total"]


def test_who_was_refused_was_not_counted() -> None:
    census = Census(total=10, each=1)
    for _ in range(5):
        census.enter("a")
    assert census.total == 1
    census.leave("a")
    assert (census.total, len(census)) == (0, 0)


def test_an_address_without_any_takes_no_memory() -> None:
    census = Census(total=2, each=2)
    for number in range(1_000):
        census.enter(str(number))
        census.leave(str(number))
    assert len(census) == 0
