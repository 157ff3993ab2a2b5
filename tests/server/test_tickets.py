"""Tickets: once, soon, from where they were asked for, and never too many."""

import itertools

import pytest

from agent_ws.server.login import Identity
from agent_ws.server.tickets import Tickets

ALICE, BOB = Identity("alice", id="a1"), Identity("bob", id="b1")
PAGE = "https://app.example.org"


class Book(Tickets):
    """Tickets t1, t2 ... on a clock that stands."""

    def __init__(self) -> None:
        self.now = 0.0
        names = (f"t{i}" for i in itertools.count(1))
        super().__init__(30, each=3, total=5, clock=lambda: self.now, new_id=lambda: next(names))


@pytest.fixture
def book() -> Book:
    return Book()


def test_a_ticket_is_used_once(book: Book) -> None:
    ticket = book.issue(ALICE, PAGE)
    assert book.redeem(ticket, PAGE) == ALICE
    assert book.redeem(ticket, PAGE) is None
    assert book.redeem("t9", PAGE) is None


@pytest.mark.parametrize("other", [None, "", f"{PAGE}/", "https://app.example.org.evil.example", "null"])
def test_a_ticket_is_for_the_page_that_asked_and_used_up_where_another_shows_it(book: Book, other: str | None) -> None:
    ticket = book.issue(ALICE, PAGE)
    assert book.redeem(ticket, other) is None
    assert book.redeem(ticket, PAGE) is None


def test_what_asked_without_an_origin_comes_without_one(book: Book) -> None:
    assert book.redeem(book.issue(ALICE, None), PAGE) is None
    assert book.redeem(book.issue(ALICE, None), None) == ALICE


def test_a_ticket_is_good_for_its_time(book: Book) -> None:
    early, late = book.issue(ALICE, None), book.issue(BOB, None)
    book.now = 29.9
    assert book.redeem(early, None) == ALICE
    book.now = 30.0
    assert book.redeem(late, None) is None
    assert len(book) == 0


def test_what_nobody_used_is_forgotten(book: Book) -> None:
    book.issue(ALICE, None)
    book.now = 31.0
    book.issue(BOB, None)
    assert len(book) == 1


def test_the_oldest_of_an_owner_gives_way_then_the_oldest_of_all(book: Book) -> None:
    bobs = book.issue(BOB, None)
    tickets = [book.issue(ALICE, None) for _ in range(50)]
    assert len(book) == 4
    assert book.redeem(bobs, None) == BOB
    assert [book.redeem(ticket, None) for ticket in tickets[-4:]] == [None, ALICE, ALICE, ALICE]
    many = [book.issue(Identity(f"owner{i}"), None) for i in range(20)]
    assert len(book) == 5
    assert [ticket for ticket in many if book.redeem(ticket, None)] == many[-5:]


def test_tickets_of_an_ended_login_are_dropped(book: Book) -> None:
    mine, his = book.issue(ALICE, None), book.issue(BOB, None)
    book.drop(lambda login: login.id == "a1")
    assert book.redeem(mine, None) is None
    assert book.redeem(his, None) == BOB
    assert len(book) == 0
