"""`agent-ws replay`: play a recording again."""

import argparse
import asyncio
import math
import sys

from . import arguments, ending


def add(commands: arguments.Commands) -> None:
    """Add the command."""
    replay = commands.add_parser(
        "replay",
        help="play a recording to clients, or to a server",
        description="Play what `agent-ws record` recorded to any client that connects here, byte by byte: who does as "
        "the recorded client did gets what that one got, and who does something else is told what was expected. The "
        "chat page is at /. With --to it plays the clients.",
    )
    replay.add_argument("file", metavar="FILE", type=arguments.file, help="the recording")
    add = replay.add_argument
    speed = "how fast: 4 is four times as fast as it was, `max` waits for nothing but the client (%(default)s)"
    add("--speed", type=_speed, default=1.0, metavar="N", help=speed)
    add("--host", default="127.0.0.1", help="the address to listen on (%(default)s)")
    add("--port", type=arguments.port, default=8000, help="the port; 0 takes a free one (%(default)s)")
    to = "be the clients: do what they did at this server, and compare what comes; the exit status is 1 if it differs"
    add("--to", metavar="URL", help=to)
    patience = "with --to: seconds that what came in the recording may take longer (%(default)g)"
    add("--patience", type=arguments.seconds, default=10.0, metavar="S", help=patience)
    add("--token", default="", metavar="TOKEN", help="with --to: a bearer token, where the server wants a login")
    once = "play it once; the exit status is 1 if a client did something else"
    add("--once", action="store_true", help=once)
    replay.set_defaults(run=_run)


def _speed(text: str) -> float:
    try:
        speed = math.inf if text == "max" else float(text)
    except ValueError:
        speed = 0.0
    if not speed > 0 or (speed == math.inf and text != "max"):
        raise argparse.ArgumentTypeError(f"expected a number above 0 or `max`, got {text!r}")
    return speed


def _run(options: argparse.Namespace) -> int:
    return asyncio.run(_serve(options) if options.to is None else _compare(options))


async def _compare(options: argparse.Namespace) -> int:
    from ..recording import read  # noqa: PLC0415 - `--help` must not wait for it
    from ..recordings import Again, Url  # noqa: PLC0415

    recording, server = read(options.file), Url.parse(options.to)
    again = Again(recording, server, speed=options.speed, patience=options.patience, token=options.token)
    stop = ending.asked()
    _tell(f"agent-ws plays the clients of {options.file} to {server} (Ctrl-C ends it)")
    # Both are ended below, whichever is first.
    playing, stopped = asyncio.ensure_future(again.run()), asyncio.ensure_future(stop.wait())
    await asyncio.wait((playing, stopped), return_when=asyncio.FIRST_COMPLETED)
    playing.cancel()
    stopped.cancel()
    try:
        differences = await playing
    except asyncio.CancelledError:
        print("agent-ws: cut short", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"agent-ws: can't reach {server}: {error.strerror or type(error).__name__}", file=sys.stderr)
        return 3
    print("\n".join(differences) or "the same as recorded")
    return 1 if differences else 0


async def _serve(options: argparse.Namespace) -> int:
    from ..recording import read  # noqa: PLC0415 - `--help` must not wait for it
    from ..recordings import Replay  # noqa: PLC0415

    recording = read(options.file)
    stop = ending.asked()
    replay = Replay(recording, _tell, speed=options.speed, host=options.host, port=options.port)
    try:
        await replay.listen()
    except OSError as error:
        print(f"agent-ws: can't listen on {options.host}:{options.port}: {error.strerror}", file=sys.stderr)
        return 3
    async with replay:
        count = len(recording.connections)
        print(
            f"agent-ws replays {options.file} (connections: {count}) on http://{options.host}:{replay.port} "
            "(Ctrl-C ends it)",
            flush=True,
        )
        # All are ended below, whichever is first.
        waiting = [asyncio.ensure_future(stop.wait())]
        if options.once:
            waiting.append(asyncio.ensure_future(replay.played.wait()))
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
    return 1 if options.once and (replay.departures or not replay.played.is_set()) else 0


def _tell(line: str) -> None:
    print(line, flush=True)
