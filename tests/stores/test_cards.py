import pytest

from agent_ws.events import Content, Done, Error, Interrupted, Start, Status, User
from agent_ws.stores.cards import SEARCHED, News, answers, folded, news, titled


@pytest.mark.parametrize(
    ("message", "title"),
    [
        ("Hello", "Hello"),
        ("  What is\ta  monad?\nBriefly.", "What is a monad?"),
        ("\n\n First \n", "First"),
        ("x" * 60, "x" * 60),
        ("x" * 61, "x" * 59 + "…"),
        ("x" * 58 + " yz", "x" * 58 + "…"),
        ("\U0001f680" * 61, "\U0001f680" * 59 + "…"),
        ("", ""),
    ],
)
def test_a_title_is_the_first_line_cut(message: str, title: str) -> None:
    assert titled(message) == title


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("STRASSE", "straße"),
        ("cafe\u0301", "CAF\u00c9"),
        ("ﬁne", "FINE"),
        ("\U0001d400bc", "abc"),
        ("\u0390", "\u03b9\u0308\u0301"),
        ("a\0b", "A b"),
    ],
)
def test_what_reads_alike_is_folded_alike(a: str, b: str) -> None:
    assert folded(a) == folded(b)
    assert "\0" not in folded(a)


def test_what_a_batch_has_for_the_list() -> None:
    one = User(id="m1", data="One\nand more", at=5.0, run="r1")
    two = User(id="m2", data="Two", at=4.0, run="r2")
    assert news([one, two], ["An answer", ""]) == News("One", 5.0, ("one\nand more", "two", "an answer"))
    assert news([Start(run="r1")]) == News()
    assert news([User(id="m1", data="x" * (SEARCHED + 1), run="r1")]).said == ("x" * SEARCHED,)


def test_answers_are_those_that_ended_without_what_was_taken_back() -> None:
    events = [
        Content(data="It is ", run="r1"),
        Content(data="a burrito", run="r1"),
        Content(data="half", run="r3"),
        Status(state="reset", chars=7, run="r1"),
        Content(data="monad", run="r1"),
        Done(run="r1"),
        Content(data="cut", run="r2"),
        Interrupted(run="r2"),
        Error(code="lost", run="r4"),
    ]
    assert answers(events) == ["It is a monad", "cut", ""]
