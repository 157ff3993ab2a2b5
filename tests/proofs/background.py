"""A proof that takes its time runs beside the tests, in a process of its own.

The one rule: it is started when, and only when, its test is going to be run, and ended with the tests.
"""

import os
import signal
import subprocess
import sys
import tempfile
from typing import IO

import msgspec

from .environments import ROOT
from .proof import Proof
from .runner import Outcome


class Background:
    """The short form of one proof, under way."""

    def __init__(self, proof: Proof) -> None:
        self._proof = proof
        self._output: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the process
        self._process = subprocess.Popen(
            [sys.executable, "-m", "proofs", proof.name, "--json"],
            env=os.environ | {"PYTHONPATH": os.pathsep.join((str(ROOT / "tests"), str(ROOT)))},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._output,
        )

    def outcome(self) -> Outcome:
        """Wait for its end."""
        said, _ = self._process.communicate()
        try:
            [outcome] = msgspec.json.decode(said, type=list[Outcome])
        except ValueError:
            self._output.seek(0)
            told = f"{said.decode()}{self._output.read().decode()}"
            return Outcome(self._proof.name, "failed", 0, self._proof.short, why=f"expected an outcome, got {told}")
        return outcome

    def end(self) -> None:
        """End it, where nobody waited for it."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)  # so that it ends the servers that it started
            self._process.wait()
        self._output.close()
