"""A history as messages of the chat completions wire, and the rules that the tests' provider holds them to."""

from typing import Any

import pytest
from chat import broken_rule

from agent_ws.agents.chat import Conversation, Kept, KeptCall
from agent_ws.history import Message, Part, Text, ToolOutput, ToolUse


def user(*parts: Part | str) -> Message:
    return Message("user", tuple(Text(part) if isinstance(part, str) else part for part in parts))


def assistant(*parts: Part | str) -> Message:
    return Message("assistant", tuple(Text(part) if isinstance(part, str) else part for part in parts))


def done(id: str, output: str = "x", *, ok: bool = True) -> ToolOutput:
    return ToolOutput(id, output, ok)


def say(role: str, content: str) -> dict[str, Any]:
    return {"role": role, "content": content}


def called(id: str, name: str = "f", arguments: str = "{}", **more: Any) -> dict[str, Any]:
    return {**more, "id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def answered(*calls: dict[str, Any], content: str | None = None, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, "tool_calls": list(calls), **more}


def result(id: str, content: str = "x") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id, "content": content}


HISTORIES: dict[str, tuple[list[Message], list[dict[str, Any]]]] = {
    "words": (
        [user("a"), assistant("b"), user("c")],
        [say("user", "a"), say("assistant", "b"), say("user", "c")],
    ),
    "blank text is left out, and roles alternate all the same": (
        [user("a"), assistant(" \n"), user("b", "\t", "c")],
        [say("user", "a\n\nb\n\nc")],
    ),
    "a call, its result, and what was said meanwhile": (
        [user("a"), assistant("b", ToolUse("t1", "f", {"x": "é"})), user(done("t1"), "c")],
        [
            say("user", "a"),
            answered(called("call00001", arguments='{"x":"é"}'), content="b"),
            result("call00001"),
            say("user", "c"),
        ],
    ),
    "results come first, wherever they lay": (
        [user("a"), assistant(ToolUse("t1", "f", {}), ToolUse("t2", "g", {})), user("b", done("t2"), done("t1"))],
        [
            say("user", "a"),
            answered(called("call00001"), called("call00002", "g")),
            result("call00002"),
            result("call00001"),
            say("user", "b"),
        ],
    ),
    "text behind a call stays in its message": (
        [user("a"), assistant("b", ToolUse("t1", "f", {}), "c"), user(done("t1"))],
        [say("user", "a"), answered(called("call00001"), content="b\n\nc"), result("call00001")],
    ),
    "inputs that are no objects, names that are no names": (
        [
            user("a"),
            assistant(ToolUse("1", "a b.c", None), ToolUse("2", "", 7), ToolUse("3", "f" * 99, [1])),
            user(done("1"), done("2"), done("3")),
        ],
        [
            say("user", "a"),
            answered(
                called("call00001", "a_b_c"),
                called("call00002", "tool", '{"input":7}'),
                called("call00003", "f" * 64, '{"input":[1]}'),
            ),
            *(result(f"call0000{n}") for n in (1, 2, 3)),
        ],
    ),
    "what became of a call is told in words": (
        [
            user("a"),
            assistant(*(ToolUse(id, "f", {}) for id in "1234")),
            user(
                done("1", " "),
                done("2", "[never started]", ok=False),
                done("3", "no such file", ok=False),
                done("4", "", ok=False),
            ),
        ],
        [
            say("user", "a"),
            answered(*(called(f"call0000{n}") for n in (1, 2, 3, 4))),
            result("call00001", "[no output]"),
            result("call00002", "[never started]"),
            result("call00003", "[failed] no such file"),
            result("call00004", "[no output]"),
        ],
    ),
    "the same id in each step": (
        [user("a"), *[assistant(ToolUse("t", "f", {})), user(done("t"))] * 2],
        [
            say("user", "a"),
            answered(called("call00001")),
            result("call00001"),
            answered(called("call00002")),
            result("call00002"),
        ],
    ),
}


@pytest.mark.parametrize(("past", "made"), HISTORIES.values(), ids=HISTORIES)
def test_a_history_becomes_messages_that_every_server_takes(past: list[Message], made: list[dict[str, Any]]) -> None:
    conversation = Conversation("Be kind.")
    for message in past:
        conversation.add(message)
    assert conversation.messages == [say("system", "Be kind."), *made]
    assert broken_rule({"model": "m", "messages": conversation.messages}) is None


def test_an_answer_of_this_run_goes_back_as_the_server_wrote_it() -> None:
    conversation = Conversation()
    conversation.add(user("a"))
    function = {"name": "f", "arguments": '{ "x": 1 }'}
    calls = (KeptCall("functions.f:0", function, {"extra_content": {"signature": "s"}}), KeptCall("", function, {}))
    conversation.add_kept(Kept("b", {"reasoning_content": "hm"}, calls), ("t1", "t2"))
    conversation.add(user(done("t1"), done("t2")))
    assert conversation.messages[1:] == [
        answered(
            called("functions.f:0", arguments='{ "x": 1 }', extra_content={"signature": "s"}),
            called("call00001", arguments='{ "x": 1 }'),
            content="b",
            reasoning_content="hm",
        ),
        result("functions.f:0"),
        result("call00001"),
    ]
    assert broken_rule({"model": "m", "messages": conversation.messages}) is None


@pytest.mark.parametrize("id", ["", "again", "call00001", "x" * 41])
def test_an_id_that_another_call_has_or_nobody_takes_is_made_anew(id: str) -> None:
    conversation = Conversation()
    conversation.add(user("a"))
    conversation.add(assistant(ToolUse("t", "f", {})))
    conversation.add(user(done("t")))
    for n in (1, 2):
        conversation.add_kept(Kept("", {}, (KeptCall(id, {"name": "f", "arguments": "{}"}, {}),)), (f"t{n}",))
        conversation.add(user(done(f"t{n}")))
    assert broken_rule({"model": "m", "messages": conversation.messages}) is None


def test_reasoning_that_led_to_no_call_does_not_go_back() -> None:
    conversation = Conversation()
    conversation.add(user("a"))
    conversation.add_kept(Kept("b", {"reasoning_content": "hm"}, ()), ())
    conversation.add_kept(Kept("", {"reasoning_content": "hm"}, ()), ())
    assert conversation.messages == [say("user", "a"), say("assistant", "b")]


def test_a_server_that_wants_to_see_reasoning_beside_each_call_sees_a_blank_one_where_it_is_not_known() -> None:
    conversation = Conversation(blank_reasoning=True)
    conversation.add(user("a"))
    conversation.add(assistant("b", ToolUse("t", "f", {})))
    conversation.add(user(done("t")))
    kept = Kept("", {"reasoning_content": "hm"}, (KeptCall("c", {"name": "f", "arguments": "{}"}, {}),))
    conversation.add_kept(kept, ("t2",))
    assert [message.get("reasoning_content") for message in conversation.messages] == [None, "", None, "hm"]


# The provider's rules


ASK = [say("user", "a")]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "unknown parameter": ({"messages": ASK, "tool": []}, "not a parameter"),
    "no model": ({"model": "", "messages": ASK}, "model: required"),
    "stream": ({"messages": ASK, "stream": "yes"}, "stream: true or false"),
    "count without stream": ({"messages": ASK, "stream_options": {}}, "only with stream"),
    "choice without tools": ({"messages": ASK, "tool_choice": "none"}, "only with tools"),
    "no tools": ({"messages": ASK, "tools": []}, "at least one"),
    "a tool twice": ({"messages": ASK, "tools": [TOOL, TOOL]}, "there twice"),
    "a tool of another kind": ({"messages": ASK, "tools": [{"type": "function", "name": "f"}]}, "expected a function"),
    "no messages": ({"messages": []}, "at least one"),
    "no role": ({"messages": [{"content": "a"}]}, "role None"),
    "a late system message": ({"messages": [*ASK, say("system", "b")]}, "does not belong here"),
    "the assistant begins": ({"messages": [say("assistant", "b"), *ASK]}, "roles alternate"),
    "two of the user's": ({"messages": [*ASK, *ASK]}, "roles alternate"),
    "the assistant's is the last": ({"messages": [*ASK, say("assistant", "b")]}, "the last is"),
    "blank": ({"messages": [say("user", " ")]}, "no content"),
    "a blank answer": ({"messages": [*ASK, say("assistant", ""), *ASK]}, "no content"),
    "a field too many": ({"messages": [say("user", "a") | {"id": "1"}]}, "not the fields"),
    "a result of no call": ({"messages": [*ASK, result("1")]}, "one result for each"),
    "two results of a call": (
        {"messages": [*ASK, answered(called("1")), result("1"), result("1")]},
        "one result for each",
    ),
    "a call without a result": (
        {"messages": [*ASK, answered(called("1"), called("2")), result("1"), *ASK]},
        "expected the results of ['2'] first",
    ),
    "nothing behind a call": ({"messages": [*ASK, answered(called("1"))]}, "the last is"),
    "a blank result": ({"messages": [*ASK, answered(called("1")), result("1", "")]}, "no content"),
    "an id twice": ({"messages": [*ASK, *[answered(called("1")), result("1")] * 2]}, "unique"),
    "a long id": ({"messages": [*ASK, answered(called("1" * 41))]}, "short"),
    "a name with a blank": ({"messages": [*ASK, answered(called("1", "a b"))]}, "malformed name"),
    "broken arguments": ({"messages": [*ASK, answered(called("1", arguments='{"x'))]}, "JSON object"),
    "arguments that are no object": ({"messages": [*ASK, answered(called("1", arguments="7"))]}, "JSON object"),
    "no calls": ({"messages": [*ASK, answered(content="b"), *ASK]}, "tool_calls: at least one"),
    "a call of another kind": ({"messages": [*ASK, answered({"id": "1"})]}, "tool_calls: malformed"),
    "an unknown field": ({"messages": [*ASK, say("assistant", "b") | {"x": 1}, *ASK]}, "not a field"),
}


@pytest.mark.parametrize(("body", "said"), BROKEN.values(), ids=BROKEN)
def test_the_provider_refuses_what_breaks_a_rule(body: dict[str, Any], said: str) -> None:
    assert said in (broken_rule({"model": "m"} | body) or "")
