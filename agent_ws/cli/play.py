"""`agent-ws play`: play scripted clients against a server."""

import argparse
import asyncio
import sys
from collections.abc import Coroutine, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import arguments

if TYPE_CHECKING:
    from ..scenarios.player import Outcome

DEFAULT_URL = "http://127.0.0.1:8000"


def add(commands: arguments.Commands) -> None:
    """Add the command."""
    play = commands.add_parser(
        "play",
        help="play scripted clients against a server",
        description="Play scenarios: what clients do and what they expect, in YAML. Exit status: 0 all passed, 1 some "
        "failed or it was stopped, 2 a file is wrong.",
    )
    files = "scenario files or folders of *.scenario.yaml, and at most one URL of a server"
    play.add_argument("what", nargs="+", metavar="FILE|URL", help=f"{files} (else the file's agent, or {DEFAULT_URL})")
    report_options(play)
    play.set_defaults(run=_run)


def report_options(command: argparse.ArgumentParser) -> None:
    """What `check` has too."""
    command.add_argument("--token", default="", metavar="TOKEN", help="a bearer token, where the server wants a login")
    patience = "by how much longer all may take than the scenarios say, on a machine that is busy (%(default)g)"
    command.add_argument("--patience", type=arguments.seconds, default=1.0, metavar="TIMES", help=patience)
    command.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    command.add_argument("--junit", type=arguments.file, metavar="FILE", help="write the outcome as JUnit XML too")


def _run(options: argparse.Namespace) -> int:
    with extra():
        from ..scenarios.files import SUFFIX, read  # noqa: PLC0415 - `--help` must not wait for it
    urls = [what for what in options.what if "://" in what]
    if len(urls) > 1:
        raise ValueError(f"expected at most one URL, got {' and '.join(urls)}")
    paths = [
        path
        for what in options.what
        if what not in urls
        for path in (sorted(Path(what).rglob(f"*{SUFFIX}")) if Path(what).is_dir() else [Path(what)])
    ]
    if not paths:
        raise ValueError(f"expected a scenario file, or a folder with files *{SUFFIX}, got none")
    scripts = [script for path in paths for script in read(path)]
    from ..scenarios.playing import play_all, target  # noqa: PLC0415

    so_far: list[Outcome] = []

    def tell(outcome: "Outcome") -> None:
        so_far.append(outcome)
        if not options.json:
            say(outcome)

    url = urls[0] if urls else ""
    server = target(url or DEFAULT_URL, options.token, options.patience)
    outcomes = until_stopped(play_all(scripts, server, named=bool(url), tell=tell), so_far)
    return finish(outcomes, options, "agent-ws play", len(scripts))


def until_stopped(work: "Coroutine[Any, Any, list[Outcome]]", so_far: "list[Outcome]") -> "list[Outcome]":
    """The outcomes; where Ctrl-C came, those that were there by then."""
    try:
        return asyncio.run(work)
    except KeyboardInterrupt:
        return so_far


@contextmanager
def extra() -> Generator[None]:
    """Say what to install where the extra is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name != "yaml":
            raise
        raise ValueError("expected the library pyyaml, which is not here: pip install 'agent-ws[cli]'") from None


STYLES = {"passed": "green", "failed": "bold red", "skipped": "yellow"}


def say(outcome: "Outcome") -> None:
    """Print one outcome, in colour where there is any."""
    from ..scenarios.report import line_of, told  # noqa: PLC0415 - `--help` must not wait for it

    try:
        from rich.console import Console  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415
    except ModuleNotFoundError:
        print(line_of(outcome))
    else:
        Console(soft_wrap=True).print(Text(line_of(outcome), STYLES[outcome.result]))
    if told(outcome):
        print(told(outcome), flush=True)


def finish(outcomes: "list[Outcome]", options: argparse.Namespace, suite: str, planned: int) -> int:
    """Print the sum, write the files, and return the exit status. planned: how many should have been played."""
    from ..scenarios.report import counted, junit, plain  # noqa: PLC0415 - `--help` must not wait for it

    stopped = planned - len(outcomes)
    failed = stopped > 0 or any(outcome.result == "failed" for outcome in outcomes)
    if options.junit:
        Path(options.junit).write_bytes(junit(outcomes, suite))
    if options.json:
        import msgspec  # noqa: PLC0415

        body = {"passed": not failed, "not_played": stopped, "scenarios": plain(outcomes)}
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(body), indent=2).decode() + "\n")
    else:
        print(counted(outcomes) + (f"; stopped: {stopped} not played" if stopped else ""))
    return 1 if failed else 0
