"""What can be set, with its default. Times are in seconds.

The one rule: every limit has a name here, a default, and an answer in PROTOCOL.md.
"""

from typing import Literal

from msgspec import Struct

WhenBusy = Literal["interrupt", "queue", "steer", "reject"]
"""What a message does that arrives while a run is going."""


class Timeouts(Struct, frozen=True, kw_only=True):
    """All waiting in the gateway is bounded by one of these."""

    first_event: float = 60.0
    """From a run's start to its agent's first event: `first_event_timeout`."""
    silence: float = 60.0
    """Between two events, unless a tool runs or the user is asked: `silence_timeout`."""
    run: float = 600.0
    """A run as a whole: `run_timeout`."""
    tool: float = 60.0
    """One tool call: `tool_timeout`."""
    reply: float = 300.0
    """An open request to the user: `expired`."""
    grace: float = 1.0
    """From the first cancellation of a run's task to the second, and between any two after that."""
    abandon: float = 10.0
    """From a run's ending until its task is given up and the receipt says so."""
    handover: float = 0.5
    """How long the next run waits for the task of the one before it to be gone."""
    orphan: float = 300.0
    """How long a run goes on that no client watches."""
    hello: float = 5.0
    """From the upgrade to the first frame: close 4408. For an HTTP request's head and its body, each: 408."""
    search: float = 1.0
    """How long a page of the list of sessions is looked for; then it has what was found."""
    stall: float = 5.0
    """How long a client may take nothing from a full socket: close 4504."""
    login: float = 5.0
    """How long the server's own check of a login may take: `internal_error`."""
    ticket: float = 30.0
    """How long a ticket waits for its connection."""
    look: float = 1.0
    """Between two looks whether the tokens file has changed; what changed counts from the second on."""
    heartbeat: float = 15.0
    """How long an HTTP stream may be silent: shorter than the idle limit of common proxies."""
    drain: float = 10.0
    """How long running answers may go on after SIGTERM."""
    idle: float = 1800.0
    """How long a connection may be silent on both sides, with nothing going: close 4408. Longer than a pause in a
    conversation; a client that means to stay says `ping`, as the page does."""
    age: float = 86_400.0
    """How old a connection may get: close 4503, between 0.9 and 1 of it where nothing is going, at twice of it in any
    case. So what a connection holds, also at a proxy, is set free in the end."""
    lag: float = 1.0
    """How late the event loop may be, until nothing new is begun: `overloaded`."""
    lag_told: float = 0.1
    """How late the event loop may be, until the log says so."""
    close: float = 5.0
    """How long the rest of the shutdown may take after the drain; then the process ends regardless."""


class Limits(Struct, frozen=True, kw_only=True):
    """How much of anything there may be."""

    message_bytes: int = 65_536
    """One message from a client."""
    queued: int = 8
    """Messages that wait in one session, queued or not yet taken by the agent that they steer: `queue_full`."""
    bad_frames: int = 10
    """Frames that were not understood, until the connection is closed."""
    control_frames: int = 256
    """Control frames that wait for a connection which doesn't read: close 4504."""
    run_chars: int = 16 * 1024 * 1024
    """Text that one run may write: `run_too_long`."""
    run_events: int = 1024 * 1024
    """Events that one run may write: `run_too_long`."""
    tool_calls: int = 16
    """Tool calls of one step that run at once; the others wait for them. Each may take a thread."""
    tool_output: int = 65_536
    """Characters of a tool's result that are kept, by the log and for the model: more is cut, and says so."""
    tickets: int = 10_000
    """Tickets that wait; beyond it the oldest is dropped."""
    tickets_each: int = 16
    """The same, of one owner."""
    tokens_bytes: int = 262_144
    """The tokens file: it is read on the event loop."""
    loaded_sessions: int = 10_000
    """Sessions held in memory; idle ones beyond it are let go and come back from the store."""
    owner_sessions: int = 1_000
    """Sessions of one owner that are held in memory and not idle: `too_many_sessions`. More than any person has open;
    less than lets one login crowd out the others."""
    listed: int = 100
    """Sessions of one page of an owner's list: `bad_frame`."""
    search_chars: int = 200
    """Characters of the words that are searched for: `bad_frame`."""
    search_words: int = 8
    """How many words those may be: `bad_frame`. Each takes as long as the first."""
    title_chars: int = 120
    """Characters of a session's title: `bad_frame`."""
    connections: int = 10_000
    """Connections in all, from the first byte on: HTTP 503. Each takes some 20 KB, and a descriptor of the system."""
    address_connections: int = 100
    """Connections of one address: HTTP 503. An office behind one address has that many tabs; no one person does."""
    frame_rate: float = 50.0
    """Frames that a connection may send in a second, and requests of one address: `rate_limited`, HTTP 429. A voice
    client that reports what it plays sends less."""
    frame_burst: float = 200.0
    """How many of them at once, after some quiet: a page that loads, an outbox that is sent again."""
    byte_rate: float = 262_144.0
    """Bytes that a connection may send in a second: `rate_limited`."""
    byte_burst: float = 1_048_576.0
    """How many of them at once, after some quiet."""
    overruns: int = 100
    """Frames beyond the rate, of which one a second is forgiven, until the connection is closed: 4429."""
    session_rate: float = 5.0
    """New sessions of one address in a second: `too_many_sessions`. An owner is free to make, so there is no other
    limit to what strangers leave in the store."""
    session_burst: float = 200.0
    """How many of them at once, after some quiet."""


class Settings(Struct, frozen=True, kw_only=True):
    """Everything that `build_app` takes beside the agent."""

    store: str = "memory"
    """`memory`, or `sqlite:PATH`."""
    when_busy: WhenBusy = "queue"
    """The default policy of new sessions."""
    origins: tuple[str, ...] = ()
    """Origins of pages that may connect (`https://app.example.org`). Empty: the page's own host only."""
    hosts: tuple[str, ...] = ()
    """Names by which the server may be addressed. Empty: `localhost` and IP addresses."""
    proxies: tuple[str, ...] = ()
    """Addresses and networks of proxies. Where one of them asks, the last address in `X-Forwarded-For` that is none of
    theirs is the client's."""
    tokens: str = ""
    """A file of bearer tokens (`agent-ws token`), which makes the server want a login. Empty: no such file."""
    timeouts: Timeouts = Timeouts()
    limits: Limits = Limits()
