"""What becomes of a model's calls: results, permissions, limits, and what a Stop does to each kind of tool."""

import asyncio
import contextvars
import datetime as dt
import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from using import Call, using

from agent_ws import Limits, Timeouts, ToolCall, ToolError, Turn, tool
from agent_ws.events import Content, Request, Resolved, ToolResult, ToolRun
from agent_ws.tools import Asked, FunctionTool, Work, named, use, use_all
from agent_ws.tools.threads import begin

virtual = pytest.mark.virtual(seeds=3)


def returning(value: Any) -> FunctionTool[[], Any]:
    async def give() -> Any:
        return value

    return tool(give)


class Wicked(Exception):
    """With a secret in its text."""


# Results


@virtual
@pytest.mark.parametrize(
    ("value", "output"),
    [
        ("as it is", "as it is"),
        ({"a": [1, None, "ü"]}, '{"a":[1,null,"ü"]}'),
        (dt.date(2026, 1, 2), '"2026-01-02"'),
        (0, "0"),
        (None, ""),
        ("", ""),
        ("lone \ud800", "lone ?"),
    ],
)
async def test_what_a_tool_returns_is_told_as_text(value: Any, output: str) -> None:
    async with using([returning(value)], ("give", {})) as run:
        assert await run.results() == {"t1": ("ok", output)}
        assert [(told.output, told.ok) for told in run.outputs] == [(output or "[no output]", True)]
        assert await run.remembered() == run.outputs


@virtual
async def test_what_is_no_json_is_an_error_that_names_its_type() -> None:
    async with using([returning(object())], ("give", {})) as run:
        assert await run.results() == {"t1": ("error", "[the tool failed: TypeError]")}


@virtual
async def test_a_tool_may_write_its_result_into_the_call() -> None:
    @tool
    async def partial(call: ToolCall) -> None:
        call.output, call.outcome = "half of it", "error"

    async with using([partial], ("partial", {})) as run:
        assert await run.results() == {"t1": ("error", "half of it")}
        assert not run.outputs[0].ok


@virtual
async def test_a_long_result_is_cut_and_says_so() -> None:
    async with using([returning("a" * 101)], ("give", {}), limits=Limits(tool_output=100)) as run:
        [(_, output)] = (await run.results()).values()
        assert output == "a" * 100 + "\n[cut: these are the first 100 of 101 characters]"
    async with using([returning("a" * 100)], ("give", {}), limits=Limits(tool_output=100)) as run:
        assert await run.results() == {"t1": ("ok", "a" * 100)}


@virtual
async def test_a_tool_error_is_told_and_any_other_by_its_type(caplog: pytest.LogCaptureFixture) -> None:
    @tool
    async def fail(kind: str) -> None:
        raise {"ours": ToolError("There is no such file."), "theirs": Wicked("key=hunter2")}[kind]

    with caplog.at_level(logging.DEBUG, "agent_ws"):
        async with using([fail], ("fail", {"kind": "ours"}), ("fail", {"kind": "theirs"})) as run:
            assert await run.results() == {
                "t1": ("error", "There is no such file."),
                "t2": ("error", "[the tool failed: Wicked]"),
            }
            assert await run.fates() == {"t1": "finished", "t2": "finished"}
            assert await run.remembered() == run.outputs
    assert "a tool failed: Wicked" in caplog.text
    assert "hunter2" not in caplog.text
    assert "no such file" not in caplog.text


@virtual
@pytest.mark.parametrize(
    "error", [SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError(), ExceptionGroup("", [Wicked()])]
)
async def test_nothing_that_a_tool_raises_ends_the_run(error: BaseException) -> None:
    @tool
    async def fail() -> None:
        raise error

    async with using([fail, returning("x")], ("fail", {}), ("give", {})) as run:
        assert await run.results() == {"t1": ("error", f"[the tool failed: {type(error).__name__}]"), "t2": ("ok", "x")}


@virtual
async def test_the_turn_and_the_call_are_filled_in() -> None:
    @tool
    async def show(text: str, turn: Turn, call: ToolCall) -> str:
        turn.content(text)
        return call.tool

    async with using([show], ("show", {"text": "hi"})) as run:
        assert await run.results() == {"t1": ("ok", "t1")}
        assert run.all(Content)[0].data == "hi"


@virtual
async def test_calls_run_at_the_same_time_and_are_answered_in_their_order() -> None:
    @tool
    async def nap(seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds

    async with using([nap], *(("nap", {"seconds": s}) for s in (3.0, 1.0, 2.0))) as run:
        assert [result.tool for result in (await run.settled()) if isinstance(result, ToolResult)] == ["t2", "t3", "t1"]
        assert [told.output for told in run.outputs] == ["3.0", "1.0", "2.0"]
        assert await run.remembered() == run.outputs
        assert asyncio.get_running_loop().time() == pytest.approx(3.0, abs=0.01)


@virtual
async def test_only_so_many_run_at_once() -> None:
    going, most = 0, 0

    @tool
    async def nap() -> None:
        nonlocal going, most
        going, most = going + 1, max(most, going + 1)
        await asyncio.sleep(1)
        going -= 1

    async with using([nap], *[Call("nap", {})] * 10, limits=Limits(tool_calls=4)) as run:
        assert set((await run.fates()).values()) == {"finished"}
    assert most == 4


# Calls that never run


@virtual
@pytest.mark.parametrize(
    ("name", "input", "words"),
    [
        ("nothing", {}, "there is no tool 'nothing'; there are: give"),
        ("give", None, "its input can't be read, so it did not run: broken"),
        ("give", {"a": 1}, "unknown field `a`. It takes: nothing"),
        ("give", {"a": 2**70}, "at most 64 bits"),
        ("give", {"a": "\ud800"}, "well-formed"),
    ],
)
async def test_a_call_that_can_not_run_is_told_why(name: str, input: dict[str, Any] | None, words: str) -> None:
    async with using([returning("x")], (name, input), ("give", {})) as run:
        results = await run.results()
        assert results["t1"][0] == "error"
        assert words in results["t1"][1]
        assert results["t2"] == ("ok", "x"), "the calls beside it are not its business"
        assert await run.fates() == {"t1": "never_started", "t2": "finished"}
        assert [event.tool for event in run.all(ToolRun)] == ["t2"]
        assert await run.remembered() == run.outputs


def test_two_tools_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="'give' twice"):
        named([returning(1), returning(2)])


# Permissions


def asked_for(
    ran: list[Any], *, when: bool | Callable[[dict[str, Any]], bool] = True, timeout: float | None = None
) -> FunctionTool[..., Any]:
    @tool(needs_approval=when, timeout=timeout)
    async def delete(path: str) -> str:
        ran.append(path)
        return "gone"

    return delete


@virtual
@pytest.mark.parametrize(
    ("reply", "outcome", "output"),
    [
        ({"approved": True}, "ok", "gone"),
        ({"approved": False}, "denied", "[refused by the user: it did not run]"),
        ({"approved": "yes"}, "denied", "[refused by the user: it did not run]"),
        ({}, "denied", "[refused by the user: it did not run]"),
        (True, "denied", "[refused by the user: it did not run]"),
    ],
)
async def test_the_user_is_asked_first(reply: Any, outcome: str, output: str) -> None:
    ran: list[Any] = []
    async with using([asked_for(ran)], ("delete", {"path": "/a"})) as run:
        request = await run.comes(Request)
        assert (request.kind, request.tool, request.prompt) == ("approval", "t1", 'Allow delete with {"path":"/a"}?')
        assert request.data == {"name": "delete", "input": {"path": "/a"}}
        assert not run.all(ToolRun)
        await run.reply(reply)
        assert await run.results() == {"t1": (outcome, output)}
        assert ran == (["/a"] if outcome == "ok" else [])
        assert await run.fates() == {"t1": "finished" if outcome == "ok" else "never_started"}
        assert await run.remembered() == run.outputs


@virtual
async def test_nobody_s_answer_is_no_permission() -> None:
    ran: list[Any] = []
    async with using([asked_for(ran)], ("delete", {"path": "/a"}), timeouts=Timeouts(reply=5)) as run:
        assert await run.results() == {"t1": ("denied", "[nobody allowed it in time: it did not run]")}
        assert run.all(Resolved)[0].outcome == "expired"
        assert ran == []


@virtual
async def test_the_time_of_asking_is_not_the_tool_s() -> None:
    ran: list[Any] = []
    async with using([asked_for(ran, timeout=1)], ("delete", {"path": "/a"})) as run:
        await run.comes(Request)
        await asyncio.sleep(100)
        await run.reply({"approved": True})
        assert await run.results() == {"t1": ("ok", "gone")}


@virtual
async def test_the_input_may_decide_whether_the_user_is_asked() -> None:
    ran: list[Any] = []
    delete = asked_for(ran, when=lambda input: input["path"] != "/tmp")  # noqa: S108 - a word
    async with using([delete], ("delete", {"path": "/tmp"}), ("delete", {"path": "/"})) as run:  # noqa: S108 - a word
        await run.reply({"approved": False})
        assert {tool: outcome for tool, (outcome, _) in (await run.results()).items()} == {"t1": "ok", "t2": "denied"}
        assert [request.tool for request in run.all(Request)] == ["t2"]


@virtual
@pytest.mark.parametrize("error", [Wicked("x"), SystemExit(3)])
async def test_what_can_not_tell_whether_to_ask_lets_nothing_run(error: BaseException) -> None:
    ran: list[Any] = []

    def fail(_: dict[str, Any]) -> bool:
        raise error

    async with using([asked_for(ran, when=fail)], ("delete", {"path": "/"})) as run:
        assert await run.results() == {"t1": ("error", f"[the tool failed: {type(error).__name__}]")}
        assert ran == []


@virtual
async def test_an_input_that_does_not_fit_is_nothing_to_ask_about() -> None:
    async with using([asked_for([])], ("delete", {"file": "/"})) as run:
        assert (await run.results())["t1"][0] == "error"
        assert not run.all(Request)


@virtual
async def test_calls_are_asked_about_side_by_side() -> None:
    ran: list[Any] = []
    async with using([asked_for(ran)], ("delete", {"path": "/a"}), ("delete", {"path": "/b"})) as run:
        await run.comes(Request, 2)
        [second] = [place for place, request in enumerate(run.all(Request), 1) if request.tool == "t2"]
        await run.reply({"approved": True}, second)
        await run.comes(ToolResult)
        assert (ran, run.outputs) == (["/b"], [])
        await run.reply({"approved": False}, 3 - second)
        assert {tool: outcome for tool, (outcome, _) in (await run.results()).items()} == {"t1": "denied", "t2": "ok"}


@virtual
async def test_a_long_prompt_is_cut_and_its_data_is_not() -> None:
    async with using([asked_for([])], ("delete", {"path": "a" * 9999})) as run:
        request = await run.comes(Request)
        assert len(request.prompt) < 600
        assert request.prompt.endswith("…?")
        assert request.data["input"] == {"path": "a" * 9999}
        run.session.interrupt()
        assert await run.fates() == {"t1": "never_started"}


# Time limits


@virtual
@pytest.mark.parametrize("on_interrupt", ["cancel", "finish", "detach"])
async def test_a_tool_out_of_time_is_stopped_and_the_model_told(on_interrupt: Any) -> None:
    @tool(timeout=2, on_interrupt=on_interrupt)
    async def nap() -> None:
        await asyncio.sleep(100)

    async with using([nap], ("nap", {})) as run:
        assert await run.results() == {"t1": ("timeout", "[stopped: it took longer than 2 s]")}
        assert await run.fates() == {"t1": "cancelled"}
        assert await run.remembered() == run.outputs
        assert asyncio.get_running_loop().time() == pytest.approx(2, abs=0.01)


@virtual
async def test_the_setting_is_the_limit_of_tools_without_one() -> None:
    @tool
    async def nap() -> None:
        await asyncio.sleep(100)

    async with using([nap], ("nap", {}), timeouts=Timeouts(tool=7)) as run:
        assert await run.results() == {"t1": ("timeout", "[stopped: it took longer than 7 s]")}


@virtual
async def test_what_is_returned_after_the_limit_comes_too_late() -> None:
    @tool(timeout=2)
    async def nap() -> str:
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            return "LATE"
        return ""

    async with using([nap], ("nap", {})) as run:
        assert await run.results() == {"t1": ("timeout", "[stopped: it took longer than 2 s]")}


@virtual
async def test_a_tool_that_takes_no_notice_of_its_limit_is_stopped_again() -> None:
    @tool(timeout=2)
    async def deaf() -> None:
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            await asyncio.sleep(100)

    async with using([deaf], ("deaf", {})) as run:
        assert await run.results() == {"t1": ("timeout", "")}
        assert [told.output for told in run.outputs] == ["[stopped: it took too long]"]
        assert await run.remembered() == run.outputs


@virtual
async def test_a_time_limit_of_the_tool_s_own_is_its_failure() -> None:
    @tool
    async def own() -> None:
        async with asyncio.timeout(1):
            await asyncio.sleep(100)

    async with using([own], ("own", {})) as run:
        assert await run.results() == {"t1": ("error", "[the tool failed: TimeoutError]")}


# Stop


@virtual
async def test_a_tool_is_cancelled() -> None:
    @tool
    async def nap() -> None:
        await asyncio.sleep(100)

    async with using([nap], ("nap", {}), ("nap", {})) as run:
        await run.comes(ToolRun, 2)
        run.session.interrupt()
        assert await run.fates() == {"t1": "cancelled", "t2": "cancelled"}


@virtual
async def test_a_tool_with_clean_up_is_let_clean_up() -> None:
    cleaned: list[str] = []

    @tool
    async def tidy() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            await asyncio.sleep(0.2)
            cleaned.append("clean")

    async with using([tidy], ("tidy", {}), ("tidy", {})) as run:
        await run.comes(ToolRun, 2)
        run.session.interrupt()
        assert await run.fates() == {"t1": "cancelled", "t2": "cancelled"}
        assert cleaned == ["clean", "clean"]


def ending(seconds: float, ended: list[str], **options: Any) -> FunctionTool[..., Any]:
    @tool(**options)
    async def save() -> str:
        await asyncio.sleep(seconds)
        ended.append("saved")
        return "saved"

    return save


@virtual
async def test_a_tool_that_is_to_finish_comes_to_its_end() -> None:
    ended: list[str] = []
    async with using([ending(3, ended, on_interrupt="finish")], ("save", {}), ("save", {})) as run:
        await run.comes(ToolRun, 2)
        run.session.interrupt()
        assert run.all(ToolResult)[0].outcome == "interrupted", "the Stop waits for nobody"
        assert await run.fates() == {"t1": "finished_after_stop", "t2": "finished_after_stop"}
        assert ended == ["saved", "saved"]
        assert asyncio.get_running_loop().time() == pytest.approx(3, abs=0.1)
        assert "finished after the user stopped" in (await run.remembered())[0].output


@virtual
async def test_a_tool_that_takes_long_to_finish_goes_on_alone() -> None:
    ended: list[str] = []
    async with using([ending(30, ended, on_interrupt="finish")], ("save", {})) as run:
        await run.comes(ToolRun)
        run.session.interrupt()
        assert await run.fates() == {"t1": "running"}
        assert asyncio.get_running_loop().time() == pytest.approx(5, abs=0.1), "half of the time to give a task up"
        assert "may still finish" in (await run.remembered())[0].output
        await asyncio.sleep(30)
        assert ended == ["saved"]


@virtual
@pytest.mark.parametrize("on_interrupt", ["finish", "detach"])
async def test_what_goes_on_after_a_stop_is_held_to_its_limit(on_interrupt: Any) -> None:
    ended: list[str] = []
    async with using([ending(30, ended, on_interrupt=on_interrupt, timeout=3)], ("save", {})) as run:
        await run.comes(ToolRun)
        run.session.interrupt()
        assert await run.fates() == {"t1": "cancelled" if on_interrupt == "finish" else "running"}
        await asyncio.sleep(40)
        assert ended == []


@virtual
async def test_a_detached_tool_holds_nobody_up() -> None:
    ended: list[str] = []
    async with using([ending(3, ended, on_interrupt="detach")], ("save", {})) as run:
        await run.comes(ToolRun)
        run.session.interrupt()
        assert await run.fates() == {"t1": "running"}
        assert asyncio.get_running_loop().time() < 0.1
        await asyncio.sleep(10)
        assert ended == ["saved"]


@virtual
@pytest.mark.parametrize("on_interrupt", ["finish", "detach"])
async def test_a_tool_apart_is_answered_like_any_other(on_interrupt: Any) -> None:
    async with using([ending(3, [], on_interrupt=on_interrupt)], ("save", {})) as run:
        assert await run.results() == {"t1": ("ok", "saved")}
        assert await run.fates() == {"t1": "finished"}


@virtual
async def test_the_shutdown_ends_what_goes_on_alone() -> None:
    ended: list[str] = []
    async with using([ending(30, ended, on_interrupt="detach")], ("save", {})) as run:
        await run.comes(ToolRun)
        run.session.interrupt()
        await run.settled()
    await asyncio.sleep(40)
    assert ended == []


@pytest.mark.virtual
async def test_what_was_cancelled_before_its_first_step_did_not_run() -> None:
    class Nipped(FunctionTool[..., Any]):
        def bind(self, input: dict[str, Any]) -> Work:
            asyncio.get_running_loop().call_soon(self.nip)  # before the first step of the task that comes next
            return super().bind(input)

        def nip(self) -> None:
            [task] = [each for each in asyncio.all_tasks() if each.get_name() == "tool nap t1"]
            task.cancel()

    async def nap() -> None:
        raise AssertionError

    async with using([Nipped(nap, on_interrupt="detach")], ("nap", {})) as run:
        assert await run.fates() == {"t1": "cancelled"}


@virtual
@pytest.mark.parametrize("on_interrupt", ["cancel", "finish"])
async def test_a_tool_that_the_fence_stops_did_not_finish(on_interrupt: Any) -> None:
    @tool(on_interrupt=on_interrupt)
    async def talk(turn: Turn) -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(1)
        turn.content("LATE")

    async with using([talk], ("talk", {})) as run:
        await run.comes(ToolRun)
        run.session.interrupt()
        assert await run.fates() == {"t1": "cancelled"}
        assert not run.all(Content)


@virtual
async def test_a_section_that_is_skipped_lets_its_tool_finish() -> None:
    ended: list[str] = []
    save = ending(3, ended, on_interrupt="finish")

    async def agent(turn: Turn) -> None:
        async with turn.section("s1"):
            await use(turn, {"save": save}, Asked(turn.begin_tool("save", "t1"), "save", {}))
            turn.content("LATE", "s1")
        turn.content("next")

    async with using([], agent=agent) as run:
        await run.comes(ToolRun)
        run.session.stop_part("section", "s1")
        assert await run.fates() == {"t1": "finished"}
        assert [event.data for event in run.all(Content)] == ["next"]
        assert ended == ["saved"]


@pytest.mark.virtual
@pytest.mark.parametrize("apart", [True, False])
async def test_no_tool_begins_once_its_agent_was_stopped(apart: bool) -> None:  # noqa: FBT001 - parametrised
    ran: list[str] = []

    @tool
    async def save() -> None:
        ran.append("began")

    async def one(turn: Turn) -> None:
        asked = Asked(turn.begin_tool("save", "t1"), "save", {})
        tools = {"save": save}
        if apart:
            asyncio.get_running_loop().call_soon(lambda: run.session.stop_part("agent", "one"))
            await use_all(turn, tools, [asked])  # its task begins after that
        else:
            run.session.stop_part("agent", "one")
            await use(turn, tools, asked)

    async def agent(turn: Turn) -> None:
        await turn.together(one=one)
        turn.content("next")

    async with using([], agent=agent) as run:
        assert await run.fates() == {"t1": "never_started"}
        assert ran == []
        assert [event.data for event in run.all(Content)] == ["next"]


# Threads


def waiting(seen: list[Any], **options: Any) -> FunctionTool[..., Any]:
    """In a thread, until it is told to stop."""

    @tool(**options)
    def wait(call: ToolCall, *, leave: str = "return") -> str:
        seen.append(threading.current_thread())
        call.stopped.wait(30)
        if leave == "raise":
            raise ToolError("half done")
        return "whole"

    return wait


async def test_a_function_without_async_runs_in_a_thread_of_its_own() -> None:
    seen: list[Any] = []

    @tool
    def where(text: str) -> str:
        seen.append(threading.current_thread())
        return text * 2

    async with using([where], ("where", {"text": "a"}), ("where", {"text": "b"})) as run:
        assert await run.results() == {"t1": ("ok", "aa"), "t2": ("ok", "bb")}
        assert await run.fates() == {"t1": "finished", "t2": "finished"}
    assert len(set(seen)) == 2
    assert all(thread.daemon for thread in seen), "no thread holds the process"


async def test_a_thread_has_the_context_of_its_call() -> None:
    who = contextvars.ContextVar("who", default="nobody")

    @tool
    def ask() -> str:
        return who.get()

    async def agent(turn: Turn) -> str:
        who.set("alice")
        return (await use(turn, {"ask": ask}, Asked(turn.begin_tool("ask"), "ask", {}))).output

    async with using([], agent=agent) as run:
        assert (await run.comes(Content)).data == "alice"


def test_a_thread_that_ends_after_its_loop_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    failures: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", failures.append)
    stop = threading.Event()

    async def main() -> None:
        begin(lambda: stop.wait(30), "late")

    asyncio.run(main())
    [thread] = [each for each in threading.enumerate() if each.name == "late"]
    stop.set()
    thread.join()
    assert failures == []


async def test_a_thread_that_nobody_waits_for_any_more_is_no_fault() -> None:
    future = begin(lambda: 1, "dropped")
    future.cancel()
    complaints: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    await begin(lambda: 2, "another")
    await begin(lambda: 3, "another")
    assert complaints == []


async def test_a_thread_s_errors_are_told_like_others() -> None:
    @tool
    def fail(kind: str) -> None:
        raise {"ours": ToolError("No."), "exit": SystemExit(3), "stop": StopIteration(), "wicked": Wicked("x")}[kind]

    kinds = ("ours", "exit", "stop", "wicked")
    async with using([fail], *(("fail", {"kind": kind}) for kind in kinds)) as run:
        assert list((await run.results()).values()) == [
            ("error", "No."),
            ("error", "[the tool failed: SystemExit]"),
            ("error", "[the tool failed: StopIteration]"),
            ("error", "[the tool failed: Wicked]"),
        ]


async def test_threads_hold_up_neither_the_loop_nor_the_default_executor() -> None:
    stop = threading.Event()

    @tool
    def block() -> None:
        stop.wait(30)

    async with using([block], *[Call("block", {})] * 40, limits=Limits(tool_calls=40)) as run:
        await run.comes(ToolRun, 40)
        async with asyncio.timeout(10):
            assert await asyncio.to_thread(lambda: "free") == "free"
        stop.set()
        assert set((await run.fates()).values()) == {"finished"}


async def test_a_thread_that_is_to_finish_is_told_too() -> None:
    async with using([waiting([], on_interrupt="finish")], ("wait", {})) as run:
        await run.comes(ToolRun)
        run.session.interrupt()
        async with asyncio.timeout(4):  # less than the time that it would be waited for
            assert await run.fates() == {"t1": "finished_after_stop"}


@pytest.mark.parametrize(("leave", "fate"), [("return", "finished_after_stop"), ("raise", "cancelled")])
async def test_a_thread_is_told_of_the_stop_and_says_how_far_it_came(leave: str, fate: str) -> None:
    seen: list[Any] = []
    async with using([waiting(seen)], ("wait", {"leave": leave})) as run:
        await run.comes(ToolRun)
        run.session.interrupt()
        assert await run.fates() == {"t1": fate}


async def test_a_thread_that_takes_no_notice_is_left_alone_and_said_to_run() -> None:
    stop = threading.Event()

    @tool
    def deaf() -> None:
        stop.wait(30)

    async with using([deaf], ("deaf", {}), timeouts=Timeouts(grace=0.1)) as run:
        await run.comes(ToolRun)
        run.session.interrupt()
        assert await run.fates() == {"t1": "running"}
        stop.set()


async def test_a_thread_out_of_time_is_told_and_given_up() -> None:
    stop = threading.Event()

    @tool(timeout=0.05)
    def deaf() -> None:
        stop.wait(30)

    seen: list[Any] = []
    calls = Call("deaf", {}), Call("wait", {})
    async with using([deaf, waiting(seen, timeout=0.05)], *calls, timeouts=Timeouts(grace=0.2)) as run:
        words = "[given up, though it may still go on: it took longer than 0.05 s]"
        assert await run.results() == {"t1": ("timeout", words), "t2": ("timeout", words)}
        assert await run.fates() == {"t1": "running", "t2": "cancelled"}
        stop.set()


@pytest.mark.parametrize("on_interrupt", ["finish", "detach"])
async def test_a_thread_may_finish_or_be_left_too(on_interrupt: Any) -> None:
    stop = threading.Event()

    @tool(on_interrupt=on_interrupt)
    def work() -> str:
        stop.wait(30)
        return "done"

    async with using([work], ("work", {})) as run:
        await run.comes(ToolRun)
        run.session.interrupt()
        if on_interrupt == "finish":
            stop.set()
        assert await run.fates() == {"t1": "finished_after_stop" if on_interrupt == "finish" else "running"}
        stop.set()
