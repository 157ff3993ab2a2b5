"""The table of close codes in PROTOCOL.md, and the exception of a connection that is not come back to."""

FINISHED = frozenset({1000, 1002, 1003, 1007, 1009})

CLOSED = 1000
LOST = 1006
"""Nobody said goodbye: the network, or a peer that is silent for too long."""
IDLE = 4408
"""As with HTTP status 408: come back when there is something to say."""
RESTARTS = frozenset({1012, 4503})
"""The server says that it will be back soon."""
REFUSALS = {status: 4000 + status for status in (400, 401, 403, 404, 500, 503)} | {413: 1009}
"""What an HTTP status before the upgrade is as a close code. Any other is a connection that was lost: too many
requests too, which is over soon."""


def comes_back(code: int) -> bool:
    """Whether coming back can help. A code that is not in the table says nothing, so it can't say no."""
    return code not in FINISHED and not 4400 <= code < 4500  # noqa: PLR2004 - the wire's 44xx


class Closed(ConnectionError):
    """The server was not reached, or it closed with a code that one doesn't come back from.

    code: the close code; 1006 where there was no connection. reason: the wire's word for it, or the system's.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{reason or 'the connection was closed'} (close code {code})")
        self.code = code
        self.reason = reason
