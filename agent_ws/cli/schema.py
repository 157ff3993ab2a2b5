"""`agent-ws schema`: write the wire's schemas."""

import argparse
from pathlib import Path

from .arguments import Commands


def add(commands: Commands) -> None:
    """Add the command."""
    schema = commands.add_parser(
        "schema",
        help="write the JSON Schemas and the AsyncAPI",
        description="Write the schemas of the wire, as this version speaks it, and of scenario files.",
    )
    schema.add_argument("folder", nargs="?", type=Path, default=Path("schema"), help="where to (default: schema)")
    schema.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from .. import schema  # noqa: PLC0415 - `--help` must not wait for it
    from ..scenarios import schema as scenarios  # noqa: PLC0415

    for path in (*schema.write(options.folder), *scenarios.write(options.folder)):
        print(path)
    return 0
