"""The types of arguments.

The one rule: what is wrong is told as expected and got, before anything begins.
"""

import argparse
import re
from typing import Protocol

from ..addresses import network

MAX_PORT = 65_535
MAX_SECONDS = 366 * 24 * 3600
"""No system's timers take any number."""
MAX_RATE = 10_000
"""Tokens a second of one stream: no timer is that fine."""


class Commands(Protocol):
    """What a command adds itself to: argparse has no public name for it."""

    def add_parser(self, name: str, *, help: str, description: str) -> argparse.ArgumentParser: ...  # noqa: A002


def port(text: str) -> int:
    """A port; 0 is any that is free."""
    if not (text.isascii() and text.isdigit()) or int(text) > MAX_PORT:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to {MAX_PORT}, got {text!r}")
    return int(text)


def count(text: str) -> int:
    """A number from 1 on."""
    if not (text.isascii() and text.isdigit()) or int(text) == 0:
        raise argparse.ArgumentTypeError(f"expected a number from 1 on, got {text!r}")
    return int(text)


def _number(text: str, most: float, expected: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number <= most:  # neither does NaN pass
        raise argparse.ArgumentTypeError(f"expected {expected} {most}, got {text!r}")
    return number


def seconds(text: str) -> float:
    """A span of time."""
    return _number(text, MAX_SECONDS, "seconds, more than 0 and at most")


def rate(text: str) -> float:
    """So many a second."""
    return _number(text, MAX_RATE, "a number a second, more than 0 and at most")


def share(text: str) -> float:
    """A part of all, from 0 to 1."""
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:  # neither does NaN pass
        raise argparse.ArgumentTypeError(f"expected a share from 0 to 1, got {text!r}")
    return share


def origin(text: str) -> str:
    """A site, as browsers send it."""
    # It is compared as a whole with what browsers send: one with a path would allow nobody, and say nothing.
    if not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/\s]+", text):
        raise argparse.ArgumentTypeError(f"expected a URL without a path (https://app.example.org), got {text!r}")
    return text


def host_name(text: str) -> str:
    """A host's name."""
    if not re.fullmatch(r"[0-9A-Za-z._-]+|[0-9A-Fa-f:.]+", text):  # the second: IPv6
        raise argparse.ArgumentTypeError(f"expected a name without a scheme and a port (example.org), got {text!r}")
    return text


def proxy(text: str) -> str:
    """An address, or a network of them."""
    try:
        return str(network(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def file(text: str) -> str:
    """A path."""
    if not text:  # a variable that is not set must not turn the login off
        raise argparse.ArgumentTypeError("expected the path of a file, got an empty text")
    return text
