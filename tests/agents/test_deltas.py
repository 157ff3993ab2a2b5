"""What the deltas of an answer come to, from servers that agree on little."""

from typing import Any, cast

import msgspec
import pytest
from chat import call, calls, closing, delta, text, thought, usage, whole
from provider import Step

from agent_ws.agents.chat import Kept, KeptCall
from agent_ws.agents.deltas import Answer
from agent_ws.events import Usage
from agent_ws.turn import Turn


class Shown:
    """What a turn was told."""

    def __init__(self) -> None:
        self.content_ = ""
        self.thinking_ = ""
        self.inputs: dict[str, str] = {}
        self.usage = Usage()

    def content(self, data: str) -> None:
        self.content_ += data

    def thinking(self, data: str) -> None:
        self.thinking_ += data

    def begin_tool(self, name: str) -> str:
        tool = f"{name}-{len(self.inputs) + 1}"
        self.inputs[tool] = ""
        return tool

    def tool_input(self, tool: str, data: str) -> None:
        self.inputs[tool] += data

    def report(self, usage: Usage) -> None:
        self.usage += usage


def answered(*steps: Step) -> tuple[Answer, Shown]:
    shown = Shown()
    answer = Answer(cast("Turn", shown))
    for step in steps:
        if isinstance(step, dict):
            answer.take(step)
    return answer, shown


def piece(name: str | None = None, arguments: Any = None, **more: Any) -> dict[str, Any]:
    function = {key: value for key, value in {"name": name, "arguments": arguments}.items() if value is not None}
    return more | ({"function": function} if function else {})


ONE, TWO = '{"q":"one"}', '{"q":"two"}'
CALLS: dict[str, list[dict[str, Any]]] = {
    "OpenAI: the name first, then the arguments in pieces, by index": [
        piece("f", "", index=0, id="a", type="function"),
        piece(arguments=ONE[:5], index=0),
        piece("g", "", index=1, id="b", type="function"),
        piece(arguments=TWO[:3], index=1),
        piece(arguments=ONE[5:], index=0),
        piece(arguments=TWO[3:], index=1),
    ],
    "whole calls": [piece("f", ONE, index=0, id="a"), piece("g", TWO, index=1, id="b")],
    "whole calls, all with index 0": [piece("f", ONE, index=0, id="a"), piece("g", TWO, index=0, id="b")],
    "whole calls without ids, all with index 0": [piece("f", ONE, index=0), piece("g", TWO, index=0)],
    "whole calls without an index": [piece("f", ONE, id="a"), piece("g", TWO, id="b")],
    "whole calls with neither": [piece("f", ONE), piece("g", TWO)],
    "pieces without an index, by id": [
        piece("f", "", id="a"),
        piece("g", "", id="b"),
        piece(arguments=ONE, id="a"),
        piece(arguments=TWO, id="b"),
    ],
    "pieces with neither": [piece("f", ONE[:5]), piece(arguments=ONE[5:]), piece("g", ""), piece(arguments=TWO)],
    "the arguments as an object": [
        piece("f", {"q": "one"}, index=0, id="a"),
        piece("g", {"q": "two"}, index=1, id="b"),
    ],
    "name and id in each piece": [
        piece("f", "", index=0, id="a"),
        piece("f", ONE[:5], index=0, id="a"),
        piece("f", ONE[5:], index=0, id="a"),
        piece("g", TWO, index=1, id="b"),
    ],
    "the name in each piece, and no id": [
        piece("f", "", index=0),
        piece("f", ONE[:5], index=0),
        piece("f", ONE[5:], index=0),
        piece("g", TWO, index=1),
    ],
    "another id in each piece": [
        piece("f", ONE[:5], index=0, id="a"),
        piece(arguments=ONE[5:], index=0, id="x"),
        piece("g", TWO, index=1, id="b"),
        piece(index=1, id="y"),
    ],
    "the same id for each call": [piece("f", ONE, index=0, id="a"), piece("g", TWO, index=1, id="a")],
}


@pytest.mark.parametrize("pieces", CALLS.values(), ids=CALLS)
def test_calls_come_whole_however_a_server_cuts_them(pieces: list[dict[str, Any]]) -> None:
    answer, shown = answered(*(calls(piece) for piece in pieces), *closing("tool_calls"))
    assert [(call.tool, call.name, call.input) for call in answer.calls] == [
        ("f-1", "f", {"q": "one"}),
        ("g-2", "g", {"q": "two"}),
    ]
    assert [msgspec.json.decode(text) for text in shown.inputs.values()] == [{"q": "one"}, {"q": "two"}]
    assert answer.stop_reason == "tool_use"
    # Several in one chunk are the same.
    again, _ = answered(calls(*pieces))
    assert [call.input for call in again.calls] == [{"q": "one"}, {"q": "two"}]


def test_calls_without_arguments_are_several_also_where_nothing_but_the_name_tells_them_apart() -> None:
    answer, _ = answered(calls(piece("f", ""), piece("f")))
    assert [call.input for call in answer.calls] == [{}, {}]


@pytest.mark.parametrize(
    ("arguments", "input"),
    [
        ("", {}),
        (" ", {}),
        ("{}", {}),
        ('{"q":', None),
        ("7", None),
        ("null", None),
        ("NaN", None),
        ("[" * 100_000, None),
        ('{"x":' * 100_000, None),
    ],
)
def test_arguments_that_are_no_object_are_told_apart_and_do_not_go_back(
    arguments: str, input: dict[str, Any] | None
) -> None:
    answer, _ = answered(*call("f", arguments))
    assert answer.calls[0].input == input
    assert answer.kept().calls == (KeptCall("call_1", {"name": "f", "arguments": "{}"}, {}),)


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning_is_shown_and_kept_in_the_field_that_it_came_in(field: str) -> None:
    answer, shown = answered(*thought("Let me ", "see.", field=field), *text("Hello"), *closing())
    assert (shown.thinking_, shown.content_, answer.stop_reason) == ("Let me see.", "Hello", "end_turn")
    assert answer.kept() == Kept("Hello", {field: "Let me see."}, ())


def test_reasoning_under_two_names_is_shown_once_and_both_go_back() -> None:
    answer, shown = answered(
        delta(reasoning="a", reasoning_content="a", reasoning_details=[{"text": "a"}]),
        delta(reasoning="b", reasoning_content="b", reasoning_details=[{"text": "b", "signature": "s"}]),
        delta(reasoning=None, reasoning_content="", content="c"),
    )
    assert shown.thinking_ == "ab"
    assert answer.kept().reasoning == {
        "reasoning": "ab",
        "reasoning_content": "ab",
        "reasoning_details": [{"text": "a"}, {"text": "b", "signature": "s"}],
    }


def test_arguments_go_back_to_the_letter() -> None:
    answer, _ = answered(*call("a b", '{ "q": ', "1.0 }"))
    assert answer.kept().calls == (KeptCall("call_1", {"name": "a_b", "arguments": '{ "q": 1.0 }'}, {}),)


def test_what_a_server_adds_to_a_call_is_kept() -> None:
    answer, _ = answered(
        calls(piece("f", "{}", index=0, id="a", extra_content={"signature": "s"})), calls(piece(index=0, extra="e"))
    )
    assert answer.kept().calls[0].extra == {"extra_content": {"signature": "s"}, "extra": "e"}


def test_a_refusal_is_text_and_a_reason() -> None:
    answer, shown = answered(delta(refusal="I won't"), delta(refusal="."), *closing())
    assert (shown.content_, answer.stop_reason) == ("I won't.", "refusal")


@pytest.mark.parametrize(
    ("reason", "told"),
    [("stop", "end_turn"), ("length", "max_tokens"), ("content_filter", "refusal"), ("insufficient", "insufficient")],
)
def test_reasons_have_the_words_of_this_project(reason: str, told: str) -> None:
    answer, _ = answered(*text("a"), *closing(reason))
    assert answer.stop_reason == told


def test_without_a_reason_an_answer_is_not_over() -> None:
    answer, _ = answered(*text("a"), usage())
    assert not answer.stop_reason


def test_running_totals_are_counted_once_and_cached_tokens_apart() -> None:
    _, shown = answered(usage(12, 1, 8), *text("a"), usage(12, 2, 8), usage(12, 40, 8))
    assert shown.usage == Usage(input_tokens=4, output_tokens=40, cache_read_tokens=8)


def test_a_whole_completion_is_taken_like_its_pieces() -> None:
    made = piece("f", ONE, id="a", type="function")
    answer, shown = answered()
    answer.take(whole("tool_calls", content="Hello", reasoning_content="hm", tool_calls=[made]).body)
    assert (shown.content_, shown.thinking_, shown.inputs) == ("Hello", "hm", {"f-1": ONE})
    assert answer.stop_reason == "tool_use"
    assert shown.usage == Usage(input_tokens=12, output_tokens=40)


EMPTY: list[dict[str, Any]] = [{}, {"choices": []}, {"choices": [{}]}, {"choices": [{"delta": None}]}, {"usage": None}]


@pytest.mark.parametrize("chunk", EMPTY)
def test_a_chunk_without_anything_is_nothing(chunk: dict[str, Any]) -> None:
    answer, shown = answered(chunk)
    assert (answer.text, answer.calls, shown.usage) == ("", [], Usage())
