"""`agent-ws check`: the wire's conformance suite."""

import argparse
import sys
from itertools import groupby
from typing import TYPE_CHECKING

from . import arguments
from .play import extra, finish, report_options, say, until_stopped

if TYPE_CHECKING:
    from ..scenarios.player import Outcome


def add(commands: arguments.Commands) -> None:
    """Add the command."""
    check = commands.add_parser(
        "check",
        help="check a server against the promises of the wire",
        description="Play the conformance suite against a server that serves the obedient agent (`agent-ws serve "
        "obedient`; --agent-help tells what it does). Exit status: 0 all passed, 1 some failed, 2 wrong use, 3 no "
        "server.",
    )
    check.add_argument(
        "url", nargs="?", default="http://127.0.0.1:8000", metavar="URL", help="the server (%(default)s)"
    )
    check.add_argument("--promise", type=int, choices=range(1, 9), metavar="N", help="only the cases of this promise")
    check.add_argument("-k", dest="only", default="", metavar="WORDS", help="only cases with these words")
    check.add_argument("--jobs", type=arguments.count, default=8, metavar="N", help="cases at a time (%(default)s)")
    restart = "a command that kills and starts the server again; its last word is `kill` or `stop`"
    check.add_argument("--restart", default="", metavar="COMMAND", help=restart)
    check.add_argument("--list", action="store_true", help="list the cases and play none")
    check.add_argument("--agent-help", action="store_true", help="tell what the obedient agent does, and play none")
    report_options(check)
    check.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    if options.agent_help:
        from ..agents import obedient  # noqa: PLC0415 - `--help` must not wait for it

        print(obedient.__doc__)
        return 0
    with extra():
        from ..conformance.cases import PROMISES, cases  # noqa: PLC0415
    chosen = [
        case
        for case in cases()
        if options.promise in (None, case.head.promise) and options.only.lower() in case.title.lower()
    ]
    if not chosen:
        raise ValueError(f"expected a case with the words {options.only!r}, got none: --list shows all")
    if options.list:
        for promise, group in groupby(chosen, lambda case: case.head.promise):
            print(f"{promise}. {PROMISES[promise or 0]}")
            for case in group:
                print(f"   {case.title}")
        print(f"{len(chosen)} cases")
        return 0
    from ..conformance.suite import NoServer, check, look, restarting  # noqa: PLC0415
    from ..scenarios.stage import Target  # noqa: PLC0415

    so_far: list[Outcome] = []

    async def run() -> "list[Outcome]":
        restart = restarting(options.restart) if options.restart else None
        target = await look(Target(url=options.url, token=options.token, patience=options.patience, restart=restart))
        if "obedient" not in target.has and not options.json:
            print("The server's agent is not the obedient one: what needs it is skipped (--agent-help).")
        return await check(chosen, target, tell=so_far.append, at_once=options.jobs)

    try:
        outcomes = until_stopped(run(), so_far)
    except NoServer as error:
        print(f"agent-ws: {error}", file=sys.stderr)
        return 3
    if not options.json:
        outcomes.sort(key=lambda outcome: outcome.script.head.promise or 0)  # stopped: they are as they came
        for promise, group in groupby(outcomes, lambda outcome: outcome.script.head.promise):
            print(f"\n{promise}. {PROMISES[promise or 0]}")
            for outcome in group:
                say(outcome)
        print()
    return finish(outcomes, options, "agent-ws check", len(chosen))
