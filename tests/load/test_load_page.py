"""The report as a page: whole without a network, and safe whatever a server says."""

import re
from html.parser import HTMLParser

import pytest

from agent_ws.load.histogram import Histogram
from agent_ws.load.page import page
from agent_ws.load.plan import Plan
from agent_ws.load.plots import POINTS, Axis, linear, logarithmic, plot, shares
from agent_ws.load.report import Ceiling, Report, Result, report, times, warnings
from agent_ws.load.run import Tick
from agent_ws.load.screen import ratios

EVIL = '<script>alert("x")</script>&'
VOID = {"meta", "line", "polyline", "path"}


def histogram(*milliseconds: float) -> Histogram:
    found = Histogram()
    for each in milliseconds:
        found.add(each / 1000)
    return found


def result(name: str, first: float = 2.0, *, us_token: float | None = 10.0) -> Result:
    ticks = [Tick(k, 100 * k, 0.002, 0.001, None if k == 3 else 0.004, None, 0, 0.1 * k, 40.0) for k in range(2, 8)]
    return Result(
        name=name,
        title=name,
        seconds=6,
        times={"first": times(histogram(first, first * 2)), "late": times(histogram(*range(1, 100)))},
        counts={"messages": 3, "stopped": 1},
        faults={f"closed with 4500 ({EVIL})": 2},
        tokens_s=1000,
        bytes_s=2048,
        share=0.98,
        us_token=us_token,
        cpu=0.2,
        rss=40,
        busy=0.1,
        ticks=ticks,
    )


def filled() -> Report:
    found = report("http://127.0.0.1:8000", Plan(message=EVIL), 1)
    found.results = [result("server", 2), result("pusher", 1), result("sse", 4, us_token=None)]
    found.ceiling = Ceiling(100_000, 10)
    found.notes = [f"a note {EVIL}"]
    found.warnings = [f"a warning {EVIL}"]
    return found


class Balanced(HTMLParser):
    """Fails where an element is not closed, or another one is."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del attrs
        self.seen.add(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert tag in VOID or self.open.pop() == tag


def test_the_page_is_whole_and_asks_for_nothing() -> None:
    text = page(filled())
    parser = Balanced()
    parser.feed(text)
    assert parser.open == []
    assert {"svg", "polyline", "table", "style"} <= parser.seen
    assert not {"script", "link", "img", "iframe"} & parser.seen
    assert re.findall(r"\b(?:src|href|url\(|@import)", text) == []
    assert text.count(EVIL) == 0
    assert text.count("&lt;script&gt;") == 6, "the message, the note, the warning, and a fault of each server"
    assert "prefers-color-scheme:dark" in text


def test_a_load_that_was_ended_at_once_is_a_page_too() -> None:
    empty = report("http://127.0.0.1:8000", Plan(), 1)
    empty.cut = True
    assert "ended early" in page(empty)


def test_a_ratio_is_the_servers_part_of_its_peers() -> None:
    ours, *peers = filled().results
    rows = dict(ratios(ours, peers))
    assert rows["first token, p50"] == pytest.approx([2.0, 0.5], rel=0.02)
    assert rows["processor time for a token"] == [1.0, None]
    assert "interrupt to ack, p50" not in rows


def test_what_must_not_be_taken_at_its_word_is_said() -> None:
    good = result("server")
    assert warnings(good) == []
    good.busy = 0.9
    good.times["own"] = times(histogram(*[1] * 10, 50))
    good.counts |= {"unanswered": 2, "lost": 3, "doubled": 4}
    good.faults["refused with HTTP 503 (too_many_connections)"] = 9
    said = "\n".join(warnings(good))
    for words in (
        "busy for 90%",
        "50 ms late itself",
        "2 messages had no answer",
        "3 tokens lost",
        "4 tokens doubled",
        "--address-conn",
    ):
        assert words in said


# The plots


@pytest.mark.parametrize("most", [0.003, 1, 7, 99, 12_345])
def test_a_linear_axis_holds_all_with_few_round_ticks(most: float) -> None:
    axis = linear("x", [most / 3, most])
    assert 0 < axis.place(most) <= 1
    assert axis.place(0) == 0
    assert 2 <= len(axis.ticks) <= 7
    assert axis.ticks[-1][0] >= most


def test_a_logarithmic_axis_has_each_power_of_ten_as_far_from_the_next() -> None:
    axis = logarithmic("ms", [0.2, 350])
    assert [label for _, label in axis.ticks] == ["0.1", "1", "10", "100", "1,000"]
    assert [axis.place(value) for value, _ in axis.ticks] == pytest.approx([0, 0.25, 0.5, 0.75, 1])
    assert axis.place(0) == 0, "no time at all is at the bottom, not below it"


def test_an_axis_of_shares_gives_each_nine_as_much_room() -> None:
    axis = shares("percentile", 4)
    assert [axis.place(share) for share in (0, 0.9, 0.99, 0.999, 1)] == pytest.approx([0, 0.25, 0.5, 0.75, 1])


def lines_of(picture: str) -> list[list[str]]:
    return [points.split() for points in re.findall(r'points="([^"]*)"', picture)]


UNIT = Axis("", [], lambda value: value / 10)


def test_a_line_has_its_gaps_and_a_point_alone_is_seen() -> None:
    picture = plot([("a", [(0, 0), (1, 10), (2, None), (3, 5)])], UNIT, UNIT)
    first, second = lines_of(picture)
    assert len(first) == 2
    assert second == [second[0]] * 2


def test_a_long_line_keeps_what_stands_out() -> None:
    points: list[tuple[float, float | None]] = [(k / 10_000, 1.0) for k in range(100_000)]
    points[54_321] = (5.4321, 10.0)
    (line,) = lines_of(plot([("a", points)], UNIT, UNIT))
    assert len(line) <= POINTS
    assert min(float(point.split(",")[1]) for point in line) == 12.0, "the top of the plane"
