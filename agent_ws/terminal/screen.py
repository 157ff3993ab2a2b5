"""A conversation in a terminal: what is finished scrolls up, what is on its way stands above the line that is typed in.

The one rule: keys are heard at any time. Nothing here waits for the server but the task that reads.
"""

import asyncio
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app
from prompt_toolkit.formatted_text import ANSI
from prompt_toolkit.key_binding import KeyBindings

from ..client import Client, Closed, Connecting, Ended, Notice, Open, Resting, Waiting
from ..client.actions import Error as Refusal
from ..client.actions import Event as Happened
from ..client.actions import Outcome, Reset, Session, State
from ..client.incoming import Unknown
from ..events import Interrupted
from ..frames import Rejected
from ..settings import WhenBusy
from .clean import line
from .parts import Item, Line
from .render import ansi
from .transcript import Transcript

PACE_S = 0.05
"""Between two drawings."""
TWICE_S = 2.0
"""A second Ctrl-C within this time leaves."""
MODES: tuple[WhenBusy, ...] = ("queue", "steer", "interrupt")
MEANS: dict[WhenBusy, str] = {
    "queue": "Enter: after this answer",
    "steer": "Enter: into this answer",
    "interrupt": "Enter: instead of this answer",
}
HELP = (
    "Enter sends; Alt-Enter makes a new line. During an answer Tab chooses what Enter does: wait, steer, interrupt.",
    "Ctrl-C stops the answer, twice leaves; Ctrl-D leaves: what goes on at the server goes on.",
    "/queue /steer /interrupt choose too; with a text they send it that way. // sends a slash.",
    "/stop stops the answer, /continue has a stopped one go on. /help, /quit.",
)


class Screen:
    """One conversation."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._transcript = Transcript()
        self._out: list[Item] = []
        """To be printed."""
        self._live = ""
        self._mode: WhenBusy = "queue"
        self._pressed = 0.0
        """When Ctrl-C was."""
        self._dirty = asyncio.Event()
        self._lost = False
        self._prompt: PromptSession[int] = PromptSession(
            message=self._above,
            bottom_toolbar=self._below,
            key_bindings=self._keys(),
            multiline=True,
            erase_when_done=True,
            prompt_continuation="  ",
        )

    async def run(self) -> int:
        """Talk until one leaves. Returns the exit status: 0, or 1 where it was cut short."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, self._ctrl_c)
        for number in (signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._leave, 1)
        try:
            return await self._prompt.prompt_async(pre_run=self._begin, handle_sigint=False)
        except EOFError:
            return 0

    def rest(self, columns: int) -> str:
        """What was on the screen and is to stay there, when it is left."""
        return ansi([*self._out, *self._transcript.ready(), *self._transcript.live()], columns)

    # Tasks of the prompt: they end with it

    def _begin(self) -> None:
        app = get_app()
        app.create_background_task(self._read())
        app.create_background_task(self._draw())

    async def _read(self) -> None:
        status = 0
        try:
            async for notice in self._client.notices():
                self._take(notice)
                self._dirty.set()
        except Closed as error:
            status = 1
            self._say("error", str(error))
        self._leave(status)

    async def _draw(self) -> None:
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            size = get_app().output.get_size()
            self._out += self._transcript.ready()
            if count := len(self._out):
                await self._print(ansi(self._out, size.columns))
                del self._out[:count]
            waiting = [Line("queued", line(frame.data)) for frame in self._client.pending]
            lines = ansi([*self._transcript.live(), *waiting], size.columns).splitlines(keepends=True)
            self._live = "".join(lines[-max(3, size.rows - 6) :])  # what is higher than the screen can't be drawn again
            get_app().invalidate()
            await asyncio.sleep(PACE_S)

    async def _print(self, text: str) -> None:
        """Write above the line. The library's `in_terminal` would give the terminal back for that moment, which takes
        a Ctrl-D that is pressed in it for its own.
        """
        renderer, output = self._prompt.app.renderer, self._prompt.app.output
        await renderer.wait_for_cpr_responses()  # where the cursor was is of no use behind this
        renderer.erase()
        output.write_raw(text)
        output.flush()
        renderer.request_absolute_cursor_position()

    def _take(self, notice: Notice) -> None:
        match notice:
            case Happened(event=event):
                if not isinstance(event, Unknown):
                    self._transcript.take(event)
            case Reset():
                self._out += self._transcript.ready()
                self._transcript = Transcript()
                self._say("note", "the server's log is another than what is above; it follows from its start")
            case State(state=state):
                self._state(state)
            case Outcome(outcome=Rejected(code=code, message=message)):
                self._say("error", f"not taken: {line(message)} ({line(code)})")
            case Refusal(error=error):
                self._say("error", f"{line(error.message)} ({line(error.code)})")
            case Outcome() | Session():
                pass

    def _state(self, state: Connecting | Open | Waiting | Resting | Ended) -> None:
        match state:
            case Waiting() if not self._lost:
                self._lost = True
                self._say("error", "the connection was lost; trying to come back (Enter: now)")
            case Open() if self._lost:
                self._lost = False
                self._say("note", "the connection is back")
            case _:
                pass

    def _say(self, kind: Any, text: str) -> None:
        self._out += self._transcript.ready()
        self._out.append(Line(kind, text))
        self._dirty.set()

    # What is drawn around the line

    def _above(self) -> ANSI:
        request = next(iter(self._transcript.requests.values()), None)
        match request.kind if request else None:
            case None:
                asks = "> "
            case "approval":
                asks = "yes or no? "
            case _:
                asks = "answer: "
        return ANSI(f"{self._live}{asks}")

    def _below(self) -> str:
        match self._client.state:
            case Open():
                state = "connected"
            case Waiting(restarting=True):
                state = "the server restarts"
            case Waiting() | Connecting():
                state = "not connected"
            case Resting():
                state = "resting"
            case _:
                state = "closed"
        if self._transcript.busy:
            return f" {MEANS[self._mode]} (Tab) · Ctrl-C: stop · {state}"
        return f" {state} · /help"

    # Keys

    def _keys(self) -> KeyBindings:
        keys = KeyBindings()

        @keys.add("enter")
        def _(event: Any) -> None:
            text: str = event.current_buffer.text
            event.current_buffer.reset(append_to_history=True)
            self._entered(text)

        @keys.add("escape", "enter")
        def _(event: Any) -> None:
            event.current_buffer.insert_text("\n")

        @keys.add("tab")
        def _(_: Any) -> None:
            self._choose(MODES[(MODES.index(self._mode) + 1) % len(MODES)])

        @keys.add("c-c")
        def _(event: Any) -> None:
            event.current_buffer.reset()
            self._ctrl_c()

        @keys.add("c-d")
        def _(event: Any) -> None:
            if not event.current_buffer.text:
                self._leave(0)

        return keys

    def _leave(self, status: int) -> None:
        app = self._prompt.app
        if app.is_running and not app.is_done:
            app.exit(result=status)

    def _ctrl_c(self) -> None:
        now = time.monotonic()
        if now - self._pressed < TWICE_S:
            self._leave(0)
        elif self._transcript.busy or self._client.pending:
            with suppress(Closed):
                self._client.interrupt()
            self._say("note", "stopping; Ctrl-C again leaves")
        else:
            self._say("note", "Ctrl-C again leaves")
        self._pressed = now

    def _choose(self, mode: WhenBusy) -> None:
        self._mode = mode
        self._dirty.set()

    def _entered(self, text: str) -> None:
        command, _, rest = text.partition(" ")
        match command.strip():
            case "" if not rest.strip():
                self._client.nudge()
            case "/help":
                for words in HELP:
                    self._say("note", words)
            case "/stop":
                self._guarded(self._client.interrupt)
            case "/continue":
                self._go_on()
            case "/quit":
                self._leave(0)
            case "/queue" | "/steer" | "/interrupt" as name:
                mode: Any = name[1:]
                if rest.strip():
                    self._send(rest, mode)
                else:
                    self._choose(mode)
            case name if name.startswith("/") and not name.startswith("//"):
                self._say("error", f"there is no command {line(name, 40)}: /help lists them, // sends a slash")
            case _ if self._transcript.requests:
                self._reply(text)
            case _:
                self._send(text[1:] if text.startswith("//") else text, self._mode)

    def _send(self, text: str, mode: WhenBusy) -> None:
        self._guarded(lambda: self._client.send(text, when_busy=mode))

    def _go_on(self) -> None:
        ending = self._transcript.ending
        if self._transcript.busy or not isinstance(ending, Interrupted):
            self._say("error", "expected an answer that was stopped, and nothing after it")
        else:
            self._guarded(lambda: self._client.send("", continues=ending.run))

    def _reply(self, text: str) -> None:
        request = next(iter(self._transcript.requests.values()))
        if request.kind != "approval":
            self._guarded(lambda: self._client.reply(request.request, {"text": text}))
        elif text.strip().lower() in {"y", "yes", "n", "no"}:
            approved = text.strip().lower().startswith("y")
            self._guarded(lambda: self._client.reply(request.request, {"approved": approved}))
        else:
            self._say("error", "expected yes or no; /steer with a text says something else, Ctrl-C stops")

    def _guarded(self, say: Callable[[], object]) -> None:
        try:
            say()
        except (ValueError, Closed) as error:
            self._say("error", line(str(error)))
        self._dirty.set()
