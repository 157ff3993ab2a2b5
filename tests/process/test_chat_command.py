"""`agent-ws chat`, in a terminal and over pipes, with a real server."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple, TypeAlias

import msgspec
import pytest
from processes import DEADLINE, HERE, Serve, Server, Tab
from terminals import Terminal

ROOT = HERE.parents[1]
Env: TypeAlias = dict[str, str]


class Ended(NamedTuple):
    status: int
    out: str
    err: str


class Asked:
    """A program that asks over a pipe."""

    def __init__(self, process: asyncio.subprocess.Process, message: bytes) -> None:
        self.process = process
        assert process.stdin is not None
        process.stdin.write(message)
        process.stdin.close()

    async def says(self, text: str) -> None:
        """Wait for a line like this on the error output."""
        assert self.process.stderr is not None
        async with asyncio.timeout(DEADLINE):
            while line := await self.process.stderr.readline():
                if text in line.decode():
                    return
        raise AssertionError(f"expected {text!r} on the error output, got its end")

    async def kill(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
            await self.process.communicate()

    async def end(self) -> Ended:
        async with asyncio.timeout(DEADLINE):
            out, err = await self.process.communicate()
        assert self.process.returncode is not None
        return Ended(self.process.returncode, (out or b"").decode(), err.decode())


class Chat:
    """Ways to `agent-ws chat`, all with one memory of sessions."""

    def __init__(self, home: Path, stack: AsyncExitStack) -> None:
        self._home = home
        self._stack = stack

    async def start(
        self, message: str | bytes, *arguments: str, out: int = asyncio.subprocess.PIPE, env: Env | None = None
    ) -> Asked:
        own = {"XDG_STATE_HOME": str(self._home), "PYTHONPATH": str(ROOT)}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "agent_ws", "chat", *arguments),
            cwd=ROOT,
            env=os.environ | own | (env or {}),
            stdin=asyncio.subprocess.PIPE,
            stdout=out,
            stderr=asyncio.subprocess.PIPE,
        )
        asked = Asked(process, message.encode() if isinstance(message, str) else message)
        self._stack.push_async_callback(asked.kill)
        return asked

    async def ask(self, message: str | bytes, *arguments: str, env: Env | None = None) -> Ended:
        return await (await self.start(message, *arguments, env=env)).end()

    async def durable(self, server: Server) -> None:
        """Wait until the server's store has all of the newest session: what is durable behind it vouches for it."""
        tab = Tab(server)
        tab.session = msgspec.json.decode((self._home / "agent-ws" / "sessions.json").read_bytes())[-1]
        del tab.session["url"]
        await tab.connect()
        await tab.say("and?", when_busy="queue")
        await tab.leave()

    async def open(self, *arguments: str, message: bytes | None = None) -> Terminal:
        terminal = await Terminal.start("chat", *arguments, home=self._home, message=message)
        self._stack.push_async_callback(terminal.close)
        return terminal


@pytest.fixture
async def chat(tmp_path: Path) -> AsyncGenerator[Chat]:
    async with AsyncExitStack() as stack:
        yield Chat(tmp_path / "state", stack)


async def url(server: Server) -> str:
    return f"http://127.0.0.1:{await server.port()}"


# Over a pipe


async def test_a_pipe_gets_the_answer_and_nothing_else(chat: Chat, serve: Serve) -> None:
    server = await url(await serve("echo"))
    assert await chat.ask("hi\n", server) == (0, "You said hi\n", "")


async def test_a_pipe_gets_no_text_that_was_taken_back(chat: Chat, serve: Serve) -> None:
    assert await chat.ask("hi", await url(await serve("thinks_again"))) == (0, "Right.\n", "")


async def test_a_terminal_gets_each_block_when_it_is_finished(chat: Chat, serve: Serve) -> None:
    terminal = await chat.open(await url(await serve("paragraphs")), message=b"hi")
    place = await terminal.says(r"One\.")
    assert "Two" not in terminal.text
    terminal.process.send_signal(signal.SIGINT)
    await terminal.says(r"Two\.", place)
    assert await terminal.exit() == 1
    assert "connected" not in terminal.text


async def test_the_exit_status_tells_of_a_run_that_failed(chat: Chat, serve: Serve) -> None:
    ended = await chat.ask("fly", await url(await serve("fails")))
    assert ended == (1, "Half. \n", "agent-ws: I can't fly. (agent_error)\n")


async def test_a_server_that_is_not_there_is_one_line(chat: Chat) -> None:
    status, out, err = await chat.ask("hi", "http://127.0.0.1:1")
    assert (status, out) == (3, "")
    assert err.startswith("agent-ws: no conversation with http://127.0.0.1:1: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("message", "arguments", "expected"),
    [
        ("", [], "expected a message"),
        (" \n", [], "expected a message"),
        (b"\xff", [], "expected a message in UTF-8"),
        ("hi", ["ftp://x"], "expected a server's URL"),
        ("hi", ["--session"], "expected a conversation with http://127.0.0.1:8000 to come back to"),
    ],
)
async def test_a_wrong_use_is_told(chat: Chat, message: str | bytes, arguments: list[str], expected: str) -> None:
    status, out, err = await chat.ask(message, *arguments)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert expected in err


@pytest.mark.parametrize("library", ["rich", "markdown_it"])
def test_what_is_to_be_installed_is_told_in_one_line(library: str) -> None:
    script = f"import sys; sys.modules[{library!r}] = None; from agent_ws.cli import main; sys.exit(main(['chat']))"
    told = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    expected = f"agent-ws: expected the library {library}, which is not here: pip install 'agent-ws[cli]'\n"
    assert (told.returncode, told.stdout, told.stderr) == (2, "", expected)


async def test_a_message_that_is_too_big_is_told(chat: Chat, serve: Serve) -> None:
    status, out, err = await chat.ask("x" * 70_000, await url(await serve("echo")))
    assert (status, out) == (1, "")
    assert "message_too_big" in err


async def test_the_next_question_goes_on_with_the_conversation(chat: Chat, serve: Serve) -> None:
    server = await url(await serve("remembers"))
    assert (await chat.ask("one", server)).out == "0 messages before **one**.\n"
    assert (await chat.ask("two", server, "--session")).out == "2 messages before **two**.\n"
    assert (await chat.ask("three", server)).out == "0 messages before **three**.\n"
    assert (await chat.ask("four", server, "--session", "none")).status == 3


async def test_a_login_is_by_the_environment_or_an_option(chat: Chat, serve: Serve, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(f"alice sha256:{sha256(b'one').hexdigest()}\n")
    server = await url(await serve("echo", "--tokens", str(tokens)))
    assert await chat.ask("hi", server, env={"AGENT_WS_TOKEN": "one"}) == (0, "You said hi\n", "")
    assert (await chat.ask("hi", server, "--token", "one")).status == 0
    status, out, err = await chat.ask("hi", server, env={"AGENT_WS_TOKEN": "two"})
    assert (status, out) == (3, "")
    assert "unauthorized" in err
    assert "two" not in err


async def test_a_question_that_nobody_can_answer_is_answered_with_no(chat: Chat, serve: Serve) -> None:
    status, out, err = await chat.ask("hi", await url(await serve("permits")))
    assert (status, out) == (0, "Nothing was deleted.\n")
    assert "Delete 3 files?" in err


async def test_a_server_that_dies_in_mid_answer_is_told_and_come_back_to(
    chat: Chat, serve: Serve, tmp_path: Path
) -> None:
    server = await serve("warns")
    asked = await chat.start("hi", await url(server))
    await asked.says("Half of it is written")
    await chat.durable(server)
    await server.kill()
    await asked.says("the connection was lost")
    port = (await url(server)).rpartition(":")[2]
    store = f"sqlite:{tmp_path}/test.db"
    again = await Server.start("-m", "agent_ws", "serve", "acting:warns", "--port", port, "--store", store)
    try:
        await asked.says("the connection is back")
        status, out, err = await asked.end()
        assert (status, out) == (1, "Half. \n")
        assert "(lost)" in err
    finally:
        await again.kill()


SIGNALS = pytest.mark.parametrize(
    ("number", "told"), [(signal.SIGINT, "stopped (user)"), (signal.SIGTERM, "left; what is going goes on")]
)


@SIGNALS
async def test_a_signal_ends_it_with_what_there_is(chat: Chat, serve: Serve, number: int, told: str) -> None:
    asked = await chat.start("hi", await url(await serve("warns")))
    await asked.says("Half of it is written")
    asked.process.send_signal(number)
    status, out, err = await asked.end()
    assert (status, out) == (1, "Half. \n")
    assert told in err
    assert "Traceback" not in err


async def test_ctrl_c_twice_leaves_where_nobody_hears_the_stop(chat: Chat, serve: Serve) -> None:
    server = await serve("warns")
    asked = await chat.start("hi", await url(server))
    await asked.says("Half of it is written")
    await server.kill()
    await asked.says("the connection was lost")
    asked.process.send_signal(signal.SIGINT)
    await asked.says("Ctrl-C again leaves")
    asked.process.send_signal(signal.SIGINT)
    status, out, err = await asked.end()
    assert (status, out) == (1, "Half. \n")
    assert "left; what is going" in err


async def test_an_output_that_nobody_reads_is_no_traceback(chat: Chat, serve: Serve) -> None:
    read, write = os.pipe()
    os.close(read)
    asked = await chat.start("hi", await url(await serve("echo")), out=write)
    os.close(write)
    assert await asked.end() == (1, "", "")


# In a terminal


async def test_an_answer_is_shown_and_the_conversation_come_back_to(chat: Chat, serve: Serve) -> None:
    server = await url(await serve("remembers"))
    terminal = await chat.open(server)
    await terminal.says("connected")
    terminal.type("one\r")
    place = await terminal.says("0 messages before one.")
    terminal.type("\x04")  # Ctrl-D
    await terminal.says(rf"To come back: agent-ws chat {server} --session \S+", place)
    assert await terminal.exit() == 0
    assert terminal.cooked
    again = await chat.open(server, "--session")
    place = await again.says("0 messages before one.")
    again.type("two\r")
    await again.says("2 messages before two.", place)


async def test_ctrl_c_stops_and_twice_leaves(chat: Chat, serve: Serve) -> None:
    terminal = await chat.open(await url(await serve("half")))
    await terminal.says("connected")
    terminal.type("hi\r")
    await terminal.says("Half of the answer")
    await terminal.says("Ctrl-C: stop")
    assert not terminal.cooked
    terminal.type("\x03")
    place = await terminal.says("■ stopped")
    await terminal.says("cancelled after", place)
    terminal.type("\x03")
    assert await terminal.exit() == 0
    assert terminal.cooked


async def test_a_stopped_answer_goes_on(chat: Chat, serve: Serve) -> None:
    terminal = await chat.open(await url(await serve("half")))
    await terminal.says("connected")
    terminal.type("/continue\r")
    await terminal.says("expected an answer that was stopped")
    terminal.type("hi\r")
    await terminal.says("Half of the answer")
    terminal.type("/stop\r")
    place = await terminal.says("■ stopped")
    terminal.type("/continue\r")
    await terminal.says("the answer goes on\\s+Half of the answer", place)


async def test_ctrl_c_where_nothing_goes_leaves_at_the_second_time(chat: Chat, serve: Serve) -> None:
    terminal = await chat.open(await url(await serve("half")))
    await terminal.says("connected")
    terminal.type("half a messag\x03")
    await terminal.says("Ctrl-C again leaves")
    terminal.type("\x03")
    assert await terminal.exit() == 0


async def test_what_is_typed_during_an_answer_waits_or_steers_as_is_shown(chat: Chat, serve: Serve) -> None:
    terminal = await chat.open(await url(await serve("listens")))
    await terminal.says("connected")
    terminal.type("hi\r")
    await terminal.says("Listening.")
    await terminal.says("Enter: after this answer")
    terminal.type("later\r")
    await terminal.says("… later")
    terminal.type("\t")
    await terminal.says("int?o this answer")  # what is the same as before isn't drawn again
    terminal.type("now\r")
    place = await terminal.says("Heard now")
    await terminal.says("> later", place)
    terminal.type("/interrupt anew\r")
    place = await terminal.says("stopped: superseded", place)
    await terminal.says("> anew", place)
    terminal.type("/stop\r")
    await terminal.says("■ stopped", place)


async def test_an_approval_is_asked(chat: Chat, serve: Serve) -> None:
    terminal = await chat.open(await url(await serve("permits")))
    await terminal.says("connected")
    terminal.type("hi\r")
    await terminal.says("Delete 3 files")
    await terminal.says("yes or no")
    terminal.type("perhaps\r")
    await terminal.says("expected yes or no")
    terminal.type("yes\r")
    await terminal.says("approved")
    place = await terminal.says("Deleted.")
    terminal.type("again\r")
    await terminal.says("yes or no", place)
    terminal.type("n\r")
    await terminal.says("Nothing was deleted.", place)


async def test_a_question_is_asked(chat: Chat, serve: Serve) -> None:
    terminal = await chat.open(await url(await serve("asks")))
    await terminal.says("connected")
    terminal.type("hi\r")
    await terminal.says("answer:")
    terminal.type("fine\r")
    await terminal.says(r"After \{'text': 'fine'\}")


async def test_a_command_that_is_none_is_told_and_a_slash_can_be_sent(chat: Chat, serve: Serve) -> None:
    terminal = await chat.open(await url(await serve("echo")))
    await terminal.says("connected")
    terminal.type("/nothing\r")
    await terminal.says("there is no command /nothing")
    terminal.type("/help\r")
    await terminal.says("Ctrl-D leaves")
    terminal.type("//nothing\r")
    await terminal.says("You said /nothing")
    terminal.type("/quit\r")
    assert await terminal.exit() == 0


async def test_a_server_that_dies_is_told_and_come_back_to_in_the_terminal(
    chat: Chat, serve: Serve, tmp_path: Path
) -> None:
    server = await serve("half")
    terminal = await chat.open(await url(server))
    await terminal.says("connected")
    terminal.type("hi\r")
    await terminal.says("Half of the answer")
    port = (await url(server)).rpartition(":")[2]
    await chat.durable(server)
    await server.kill()
    place = await terminal.says("the connection was lost")
    store = f"sqlite:{tmp_path}/test.db"
    again = await Server.start("-m", "agent_ws", "serve", "acting:half", "--port", port, "--store", store)
    try:
        await again.port()
        terminal.type("\r")  # now
        await terminal.says("the connection is back", place)
        place = await terminal.says(r"\(lost\)", place)
        terminal.type("again\r")
        await terminal.says("Half of the answer", place)
    finally:
        await again.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_leaves_the_terminal_as_it_was(chat: Chat, serve: Serve, number: int) -> None:
    terminal = await chat.open(await url(await serve("half")))
    await terminal.says("connected")
    terminal.type("hi\r")
    await terminal.says("Half of the answer")
    terminal.process.send_signal(number)
    assert await terminal.exit() == 1
    assert terminal.cooked
    assert "Traceback" not in terminal.text


async def test_a_login_that_ends_is_told(chat: Chat, serve: Serve, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(f"alice sha256:{sha256(b'one').hexdigest()}\n")
    terminal = await chat.open(await url(await serve("half", "--tokens", str(tokens))), "--token", "one")
    await terminal.says("connected")
    tokens.write_text("")
    await terminal.says("unauthorized")
    assert await terminal.exit() == 1
    assert terminal.cooked
    assert "To come back" not in terminal.text
