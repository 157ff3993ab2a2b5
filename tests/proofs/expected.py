"""What a connection is expected to answer, frame by frame: PROTOCOL.md as a model, without a server.

The one rule: an answer that depends on what the model can't know (how fast an agent is) is left open by name; nothing
else is.
"""

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from agent_ws.settings import Settings

from .frames_of_chance import Verdict, judge
from .proof import Disproved


class Live(Struct):
    """A session that there is, as far as a client knows."""

    session: str
    token: str
    run: str = ""
    request: str = ""
    """Of `run`, where it asked."""
    going: bool = False
    """`run` has no ending, and its request no reply."""
    replied: bool = False
    messages: set[str] = set()
    """Ids that were used."""


class Want(Struct):
    """An answer that is due. `kind` is the frame's type; `fields` must be in it as they are."""

    kind: str
    fields: dict[str, Any] = {}
    codes: frozenset[str] = frozenset()
    """For `message`: with which codes it may be rejected."""
    accepted: bool = False
    """For `message`: it may be accepted."""


class Expected:
    """The model of one connection. `live`: its session, if it is open already. `lives`: all that there are. `spent`:
    frames that it has sent before.
    """

    def __init__(
        self, settings: Settings, *, binary: bool, live: Live | None, lives: list[Live], spent: int = 0
    ) -> None:
        self.wants: list[Want] = []
        self.closing: int | None = None
        """The code with which the server has to close; later frames have no answer."""
        self.taken = 0
        """Frames that have an answer."""
        self._limits = settings.limits
        self._binary = binary
        self._live = live
        self._lives = lives
        self._bad = 0
        self._left = settings.limits.frame_burst - spent
        """Frames within the rate: no time passes here, so none are added."""
        self._overruns = 0
        self._when_busy = "queue"

    def take(self, message: bytes | str) -> Verdict:
        """Expect the answer to a message."""
        self.taken += 1
        size = len(message if isinstance(message, bytes) else message.encode())
        if size > self._limits.message_bytes:
            self._close(1009, "message_too_big")
            return "bad"
        over = self._left < 1
        self._left -= not over
        verdict, frame = judge(message, binary=self._binary)
        match verdict:
            case "bad":
                self._refuse(message)
            case "gray":
                # Whatever it does, the connection's state is not known any more: it is the last of the heap.
                self.wants.append(Want("gray"))
                self.closing = 0
            case "valid" if over and self._live is not None and frame.get("type") != "interrupt":
                self._refuse_in_time(frame)
            case "valid":
                self._serve(frame)
        self._overruns += over
        if over and self._overruns >= self._limits.overruns and self.closing is None:
            self._close(4429, "rate_limited")
        return verdict

    def _refuse_in_time(self, frame: dict[str, Any]) -> None:
        """It was understood, and came too fast."""
        if frame.get("type", "message") == "message":
            self.wants.append(Want("rejected", {"code": "rate_limited", "id": frame.get("id")}))
        else:
            about = frame["request"] if frame["type"] == "reply" else None
            self.wants.append(Want("error", {"code": "rate_limited", "about": about}))

    def _refuse(self, message: bytes | str) -> None:
        code = "bad_frame"
        if isinstance(message, str) is self._binary:
            code = "text_frame" if self._binary else "binary_frame"
        self._bad += 1
        if self._live is None or self._bad >= self._limits.bad_frames:
            self._close(4400, code)
        else:
            self.wants.append(Want("error", {"code": code, "about": None}))

    def _close(self, close: int, code: str) -> None:
        self.wants.append(Want("error", {"code": code, "about": None}))
        self.closing = close

    def _serve(self, frame: dict[str, Any]) -> None:
        kind = frame.get("type", "message")
        if self._live is None:
            self._begin(kind, frame)
            if kind == "hello" or self._live is None:
                return
        live = self._live
        match kind:
            case "hello":
                self._close(4409, "conflict")
            case "ping":
                self.wants.append(Want("pong", {"data": frame.get("data")}))
            case "message":
                self._say(live, frame)
            case "interrupt":
                self._interrupt(live, frame)
            case "reply":
                if live.going and not live.replied and frame["request"] == live.request:
                    live.replied = True
                else:
                    self.wants.append(Want("error", {"code": "request_not_open", "about": frame["request"]}))
            case _:
                pass  # `pause` and `continue` have no answer

    def _begin(self, kind: str, frame: dict[str, Any]) -> None:
        """The first frame."""
        if kind not in ("hello", "message"):
            self._close(4400, "bad_frame")
            return
        session = frame.get("session") if kind == "hello" else None
        live = next((live for live in self._lives if live.session == session), None)
        if session is not None and (live is None or frame.get("token") != live.token):
            self._close(4404, "session_not_found")
            return
        self._live = live or Live("", "")
        if kind == "hello":
            self._when_busy = frame.get("when_busy") or "queue"
        self.wants.append(Want("session", {} if live is None else {"session": session}))
        if frame.get("epoch") is not None and frame.get("after") is not None:
            self.wants.append(Want("reset"))  # no client knows an epoch here

    def _say(self, live: Live, frame: dict[str, Any]) -> None:
        data = frame["data"] if "type" in frame else frame["message"]
        policy = frame.get("when_busy") or self._when_busy
        name = frame.get("id")
        codes = {"reject": {"busy"}, "queue": {"queue_full"}, "steer": {"queue_full"}}.get(policy, set[str]())
        again = name is not None and name in live.messages
        blank = not data.strip()
        if name is not None:
            live.messages.add(name)
        continues = frame.get("continues")
        if continues is not None:
            # The one that is known may have been interrupted, and may be the last.
            known = continues == live.run
            may = again or (known and not data)
            anew = {"cannot_continue"} if known else {"run_not_found"}
            codes = codes | {"empty_message"} | anew if again else anew
        elif again:
            may = True
            codes = codes | {"empty_message"} if blank else codes
        else:
            may = not blank
            codes = {"empty_message"} if blank else codes
            if may and policy == "interrupt":
                live.going = False
        fields = {} if name is None else {"id": name}
        self.wants.append(Want("message", fields, frozenset(codes), accepted=may))

    def _interrupt(self, live: Live, frame: dict[str, Any]) -> None:
        run = frame.get("run")
        if run is not None and run != live.run:
            self.wants.append(Want("error", {"code": "run_not_found", "about": run}))
        elif frame.get("section") is None and frame.get("agent") is None:
            live.going = False

    # What came

    def check(self, answers: Sequence[dict[str, Any]], closed: int | None) -> None:
        """Compare: the answers in their order, but for `accepted`, which waits for the store."""
        if self.wants and self.wants[-1].kind == "gray":
            self.wants.pop()
            rest = self._match(answers, whole=False, spare=1)
            if closed not in (None, 4400, 4404, 4409, 4429) or len(rest) > 2:
                raise Disproved(f"expected a defined answer to an unclear frame, got {rest} and close {closed}")
            return
        if closed != self.closing:
            raise Disproved(f"expected close {self.closing}, got {closed} after {answers[-3:]}")
        rest = self._match(answers, whole=self.closing is None)
        if rest:
            raise Disproved(f"expected no more answers, got {rest}")

    def _match(self, answers: Sequence[dict[str, Any]], *, whole: bool, spare: int = 0) -> list[dict[str, Any]]:
        """Returns what came behind all that was wanted. whole: nothing may be missing. spare: `accepted` that may be
        too many.
        """
        ordered = [answer for answer in answers if answer["type"] != "accepted"]
        accepted = len(answers) - len(ordered)
        due = 0
        for want in self.wants:
            came = ordered[0] if ordered else {"type": "nothing"}
            if want.kind == "message":
                refused = came["type"] == "rejected" and came.get("id") == want.fields.get("id")
                if refused and came["code"] in want.codes:
                    ordered.pop(0)
                elif want.accepted:
                    due += 1
                else:
                    raise Disproved(f"expected a rejection with one of {set(want.codes)}, got {came}")
                continue
            if came["type"] != want.kind or any(came.get(name) != value for name, value in want.fields.items()):
                raise Disproved(f"expected {want}, got {came}")
            ordered.pop(0)
        if accepted > due + spare or (whole and accepted < due):
            raise Disproved(f"expected {due} messages to be accepted, got {accepted} of {self.wants}")
        return ordered
