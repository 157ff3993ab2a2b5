"""Every error the gateway can answer with, and how each wire says it.

    AgentWsError
    ├── FrameError          the client broke the rules: answered on its wire, the session is untouched
    │   └── Refused         a well-formed request that can't be served now: `rejected`, or an HTTP status
    ├── RunError            the run failed: becomes the `error` ending in the log
    │   ├── AgentError      raised by an agent on purpose: its message is shown to the user
    │   │   └── ToolError   raised by a tool on purpose: its message is the result of the call, and ends nothing
    │   ├── BracketError    the agent wrote an event that breaks the bracketing law
    │   └── ToolTimeout     a tool ran over its limit; an agent may catch it and go on
    ├── Fenced              a write after the run's ending: raised into the agent, never shown
    └── StoreError          the store could not do it (`stores.base.BatchError`: for one session)

Anything else is a bug: it reaches the top and is answered with `internal_error`, never with its own text.

The one rule: an error's `code` is a key of `CODES`, so each wire finds its own number there.
"""

from typing import NamedTuple


class Code(NamedTuple):
    """What one error code is on each wire."""

    close: int | None
    """The WebSocket close code, or None where the connection stays open."""
    status: int
    """The HTTP status."""
    retry: bool
    """Whether the same request may succeed later without a change by the client."""


CODES: dict[str, Code] = {
    # About one frame or request
    "bad_frame": Code(4400, 400, retry=False),
    "text_frame": Code(4400, 400, retry=False),
    "binary_frame": Code(4400, 400, retry=False),
    "empty_message": Code(None, 400, retry=False),
    "unauthorized": Code(4401, 401, retry=False),
    "forbidden": Code(4403, 403, retry=False),
    "session_not_found": Code(4404, 404, retry=False),
    "run_not_found": Code(None, 404, retry=False),
    "not_found": Code(None, 404, retry=False),
    "method_not_allowed": Code(None, 405, retry=False),
    "hello_timeout": Code(4408, 408, retry=False),
    "idle": Code(4408, 408, retry=False),
    "conflict": Code(4409, 409, retry=False),
    "deleted": Code(4410, 410, retry=False),
    "busy": Code(None, 409, retry=True),
    "cannot_continue": Code(None, 409, retry=False),
    "request_not_open": Code(None, 409, retry=False),
    "message_too_big": Code(1009, 413, retry=False),
    "queue_full": Code(None, 429, retry=True),
    "rate_limited": Code(4429, 429, retry=False),
    "too_many_sessions": Code(4429, 429, retry=False),
    "internal_error": Code(4500, 500, retry=True),
    "shutting_down": Code(4503, 503, retry=True),
    "old_connection": Code(4503, 503, retry=True),
    "overloaded": Code(4503, 503, retry=True),
    "too_many_connections": Code(None, 503, retry=True),
    "store_failed": Code(None, 503, retry=True),
    "slow_client": Code(4504, 504, retry=True),
    # Endings of a run
    "agent_error": Code(None, 500, retry=False),
    "bad_event": Code(None, 500, retry=False),
    "first_event_timeout": Code(None, 504, retry=True),
    "silence_timeout": Code(None, 504, retry=True),
    "run_timeout": Code(None, 504, retry=True),
    "tool_timeout": Code(None, 504, retry=True),
    "run_too_long": Code(None, 500, retry=False),
    "provider_error": Code(None, 502, retry=True),
    "provider_timeout": Code(None, 504, retry=True),
    "lost": Code(None, 500, retry=True),
}
"""The closed set of error codes. PROTOCOL.md lists the same set; a test compares them."""


class AgentWsError(Exception):
    """The root. `str(error)` is safe to show to a client: it holds no secret and no message text."""

    code: str = "internal_error"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code
        if self.code not in CODES:
            msg = f"unknown error code {self.code!r}: expected one of errors.CODES"
            raise ValueError(msg)

    @property
    def close(self) -> int | None:
        """The WebSocket close code, or None where the connection stays open."""
        return CODES[self.code].close

    @property
    def status(self) -> int:
        """The HTTP status."""
        return CODES[self.code].status


class FrameError(AgentWsError):
    """The client sent what the protocol doesn't allow here."""

    code = "bad_frame"


class Refused(FrameError):
    """The request was understood and nothing happened. `wait`: seconds after which it may be made again."""

    code = "busy"

    def __init__(self, message: str, *, code: str | None = None, wait: float = 1.0) -> None:
        super().__init__(message, code=code)
        self.wait = wait


class RunError(AgentWsError):
    """Ends the run with `error`, this code and this message.

    retry: whether the same may succeed later; by default what the code says. wait: seconds that the provider asked to
    wait for before that.
    """

    code = "agent_error"

    def __init__(
        self, message: str, *, code: str | None = None, retry: bool | None = None, wait: float | None = None
    ) -> None:
        super().__init__(message, code=code)
        self.retry = CODES[self.code].retry if retry is None else retry
        self.wait = wait


class AgentError(RunError):
    """For agents to raise: `AgentError("The calendar is not connected.")` is what the user reads."""


class ToolError(AgentError):
    """For tools to raise: `ToolError("There is no such file.")` is what the model reads, and goes on with."""


class BracketError(RunError):
    """An event out of place: a section that is not open, a tool's second result."""

    code = "bad_event"


class ToolTimeout(RunError):
    """A tool was stopped at its time limit."""

    code = "tool_timeout"


class Fenced(AgentWsError):
    """The run has its ending; nothing more can be written. Raised at the agent that writes on."""


class StoreError(AgentWsError):
    """The store could not read or write."""

    code = "store_failed"


def place(error: BaseException) -> str:
    """Where an exception came from, without its text, which may hold a secret: `file:line` of the innermost frame."""
    trace = error.__traceback__
    if trace is None:
        return "unknown place"
    while trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
