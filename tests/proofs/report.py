"""The long runs' results and the page made of them. The one rule: what is not known to have passed is not said to have.

Several commands may write at once, each its own proofs: all is done under a lock, and a file is replaced whole.
"""

import fcntl
import os
import platform
import subprocess
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from .proof import Proof
from .runner import Outcome, said

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RESULTS = HERE / "results.json"
REPORT = ROOT / "PROOFS.md"


class Machine(Struct, frozen=True):
    """What a proof ran on, and what it ran."""

    date: str
    python: str
    system: str
    version: str
    commit: str
    """Of the sources; with a `+` where they had been changed since."""


class Record(Struct, frozen=True):
    """One entry of the results."""

    outcome: Outcome
    machine: Machine


Records = dict[str, Record]
"""By the proof's name."""


def machine() -> Machine:
    """Here and now."""
    return Machine(
        date=datetime.now(UTC).date().isoformat(),
        python=f"{platform.python_implementation()} {platform.python_version()}",
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        version=version("agent-ws"),
        commit=_commit(),
    )


def _commit() -> str:
    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S607 - the git that is there

    try:
        own = (":!tests/proofs/results.json", ":!PROOFS.md")  # these change with each proof
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", *own)
        return git("rev-parse", "--short=10", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def read(file: Path | None = None) -> Records:
    """All results, of whatever commit; none where there is no file."""
    file = file or RESULTS
    return msgspec.json.decode(file.read_bytes(), type=Records) if file.exists() else {}


def write(
    proofs: Sequence[Proof], outcomes: Sequence[Outcome], results: Path | None = None, page: Path | None = None
) -> None:
    """Merge outcomes into the results, and make the page anew. A skipped proof takes no earlier result away."""
    here = machine()
    results, page = results or RESULTS, page or REPORT
    with _locked(results.parent):
        records = read(results)
        for outcome in outcomes:
            if outcome.verdict != "skipped" or outcome.proof not in records:
                records[outcome.proof] = Record(replace(outcome, trace=""), here)
        known = {proof.name: records[proof.name] for proof in proofs if proof.name in records}
        _replace(results, msgspec.json.format(msgspec.json.encode(known), indent=1).decode() + "\n")
        _replace(page, render(proofs, known))


@contextmanager
def _locked(folder: Path) -> Generator[None]:
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _replace(file: Path, text: str) -> None:
    fresh = file.with_name(f".{file.name}.new")
    fresh.write_text(text)
    fresh.replace(file)


# The page

HEAD = """\
# Proofs

Each claim of this project is a command with a seed: it passes or fails, and anyone can run it. `make test` tries the
short form of each; `make prove` the long form, and writes what came of it here. So this page is made by a program, and
a test compares it with [its results](tests/proofs/results.json).

```console
$ PYTHONPATH=tests python -m proofs {example}                # one proof, in its short form
$ PYTHONPATH=tests python -m proofs {example} --seed 1000    # other cases
$ make prove ARGS={example}                                  # in its long form
```

(`python` is `.venv/bin/python`, which `make test` sets up.) A case is made from its seed and from nothing else, on the
unmodified server. A proof that fails says which case it was and the command that repeats that one alone.

| claim | proof | short | long | result |
| --- | --- | --- | --- | --- |
"""

FACTS = """
## What happened

A random test that tried nothing passes too, so each proof counts what it met.

"""


def render(proofs: Sequence[Proof], records: Mapping[str, Record]) -> str:
    """The whole of PROOFS.md."""
    lines = [HEAD.format(example=proofs[0].name)]
    lines += [_row(proof, records.get(proof.name)) for proof in proofs]
    if records:
        lines.append(FACTS)
    for proof in proofs:
        if (record := records.get(proof.name)) is not None:
            m, outcome = record.machine, record.outcome
            lines.append(f"- **{proof.name}**: {said(outcome.facts) or 'nothing'}.\n")
            lines.append(f"  {m.date}, {outcome.seconds:,.0f} s, {m.python}, {m.system}, ")
            lines.append(f"agent_ws {m.version}, commit {m.commit}.\n")
    return "".join(lines)


def _row(proof: Proof, record: Record | None) -> str:
    result = "not run at length yet" if record is None else _result(record.outcome)
    cells = (proof.claim, f"`{proof.name}`", f"{proof.short:,} {proof.unit}", f"{proof.long:,}", result)
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |\n"


def _result(outcome: Outcome) -> str:
    match outcome.verdict:
        case "passed":
            return f"passed, {outcome.count:,} from seed {outcome.seed} in {outcome.seconds:,.0f} s"
        case "skipped":
            return f"SKIPPED: {_line(outcome.why)}"
        case "failed":
            return f"**FAILED**: {_line(outcome.why)} (`{outcome.again}`)"


def _line(text: str) -> str:
    return " ".join(text.split())[:200]
