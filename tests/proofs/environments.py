"""Environments of other Pythons, made once and kept in `.environments`, which git ignores.

The one rule: one that was not made to its end is made anew. What can't be made here is no failure of the project's.
"""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from .proof import Unprovable

ROOT = Path(__file__).parents[2]
KEPT = ROOT / ".environments"
PATIENCE_S = 600.0


def python(version: str) -> Path | None:
    """An interpreter of this version (`3.12`), on the PATH or of pyenv's."""
    found = shutil.which(f"python{version}")
    candidates = [Path(found)] if found else []
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    candidates += sorted(pyenv.glob(f"{version}.*/bin/python"), reverse=True)
    return next((path for path in candidates if _is(path, version)), None)


def _is(path: Path, version: str) -> bool:
    """Whether it works: pyenv puts names on the PATH that only say that they are not chosen."""
    code = "import sys; sys.stdout.write('%d.%d' % sys.version_info[:2])"
    try:
        told = subprocess.run([path, "-c", code], capture_output=True, timeout=30, check=False, text=True)
    except OSError:
        return False
    return told.stdout == version


def run(*words: str | Path, cwd: Path = ROOT) -> None:
    """A step of making one. Raises `Unprovable` with the last line that it said."""
    done = subprocess.run(words, cwd=cwd, capture_output=True, check=False, text=True, timeout=PATIENCE_S)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise Unprovable(f"{' '.join(map(str, words[:4]))} … failed: {said[-1] if said else done.returncode}")


@contextmanager
def made(name: str, of: Sequence[str | Path]) -> Generator[tuple[Path, bool]]:
    """Where the environment is, and whether it is there already; what is made inside is kept. `of`: what it depends
    on, texts and files; another one is made where they change.
    """
    digest = sha256()
    for part in of:
        digest.update(part.read_bytes() if isinstance(part, Path) else part.encode())
    folder = KEPT / f"{name}-{digest.hexdigest()[:8]}"
    done = folder / "done"
    KEPT.mkdir(exist_ok=True)
    with (KEPT / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two runs at once make one
        there = done.exists()
        if not there:
            shutil.rmtree(folder, ignore_errors=True)
        yield folder, there
        done.touch()


def for_tests(interpreter: Path) -> Path:
    """The `python` of an environment in which the tests run, as constraints.txt has it."""
    of = (str(interpreter), sys.platform, ROOT / "constraints.txt", ROOT / "pyproject.toml")
    with made(f"py{interpreter.resolve().name.removeprefix('python')}", of) as (folder, there):
        if not there:
            run(interpreter, "-m", "venv", folder)
            pip = (folder / "bin/python", "-m", "pip", "install", "-q", "--disable-pip-version-check")
            run(*pip, "-c", "constraints.txt", "-e", ".[dev]")
    return folder / "bin/python"


def autobahn() -> Path:
    """The folder of the programs of Autobahn's suite, which needs Python 2.7."""
    interpreter = python("2.7")
    if interpreter is None:
        raise Unprovable("Autobahn's suite needs a Python 2.7: put a python2.7 on the PATH, or into pyenv")
    constraints = Path(__file__).with_name("autobahn.constraints.txt")
    with made("autobahn", (str(interpreter), constraints)) as (folder, there):
        if not there:
            # The last virtualenv that makes an environment of a Python 2.
            run(sys.executable, "-m", "venv", folder / "maker")
            run(folder / "maker/bin/pip", "install", "-q", "--disable-pip-version-check", "virtualenv<20.22")
            run(folder / "maker/bin/virtualenv", "-q", "-p", interpreter, folder / "suite")
            run(folder / "suite/bin/pip", "install", "-q", "-c", constraints, "autobahntestsuite")
    return folder / "suite/bin"
