"""`agent-ws token`: make a bearer token."""

import argparse
import re
import sys
from datetime import UTC, datetime, timedelta

from .arguments import Commands


def add(commands: Commands) -> None:
    """Add the command."""
    token = commands.add_parser(
        "token",
        help="make a bearer token for `serve --tokens`",
        description="Make a bearer token. Prints the line for the tokens file, which can't be turned back into the "
        "token, and on the error output the token itself, this once: agent-ws token alice >> tokens",
    )
    token.add_argument("name", metavar="NAME", help="whose token: sessions belong to this name")
    until = "when it ends: 90d, 12h, or 2027-01-31T12:00:00Z (never)"
    token.add_argument("--expires", type=_expires, metavar="WHEN", help=until)
    token.set_defaults(run=_run)


def _expires(text: str) -> datetime:
    from ..server.tokens import moment  # noqa: PLC0415 - `--help` must not wait for a server's imports

    now = datetime.now(UTC)
    span = re.fullmatch(r"([0-9]{1,5})([dh])", text)
    try:
        when = now + timedelta(hours=int(span[1]) * (24 if span[2] == "d" else 1)) if span else moment(text)
    except ValueError:
        when = now
    if when <= now:
        raise argparse.ArgumentTypeError(f"expected 90d, 12h or a time to come (2027-01-31T12:00:00Z), got {text!r}")
    return when


def _run(options: argparse.Namespace) -> int:
    from ..server.tokens import fresh  # noqa: PLC0415 - `--help` must not wait for a server's imports

    token, line = fresh(options.name, options.expires)
    print(line)
    print(f"The token of {options.name}, shown this once: {token}", file=sys.stderr)
    return 0
