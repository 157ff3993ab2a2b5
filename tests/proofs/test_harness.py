"""The harness itself: a proof is only as true as what runs it."""

import io
import re
import shlex
import warnings
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from . import report
from .__main__ import main
from .progress import Progress
from .proof import Course, Disproved, Proof, Unprovable
from .runner import Outcome, run


def holds(course: Course) -> None:
    for case in course.cases():
        course.facts["sum"] += case


def fails_at_7(course: Course) -> None:
    for case in course.cases():
        course.facts["tried"] += 1
        if case == 7:
            raise Disproved("expected no seven, got 7")


def raises(course: Course) -> None:
    for case in course.cases():
        raise KeyError(case)


def lacks(course: Course) -> None:
    raise Unprovable(f"no browser in {course.folder.name[:5]}")


def stops_early(course: Course) -> None:
    for case in course.cases():
        if case == 3:
            return


def fails_unseen(course: Course) -> None:
    class Clumsy:
        def __del__(self) -> None:
            raise ValueError("nobody hears")

    for _ in course.cases():
        Clumsy()


def warns(course: Course) -> None:
    for _ in course.cases():
        warnings.warn("old", DeprecationWarning, stacklevel=1)


def side_by_side(course: Course) -> None:
    for case in list(course.cases()):
        with course.at(case):
            fails_at_7(Course(seed=case, count=1, folder=course.folder))


def fails_in_a_group(course: Course) -> None:
    for _ in course.cases():
        raise ExceptionGroup("tasks", [ExceptionGroup("more", [Disproved("expected one, got two")])])


def proof(prove: Callable[[Course], None], *, parallel: bool = False) -> Proof:
    name = getattr(prove, "__name__", "")
    return Proof(name, f"It {name}.", "numbers", short=10, long=20, prove=prove, parallel=parallel)


def test_what_holds_passes_with_its_facts() -> None:
    outcome = run(proof(holds), seed=5, count=10)
    assert (outcome.verdict, outcome.seed, outcome.count, outcome.facts) == (
        "passed",
        5,
        10,
        {"sum": sum(range(5, 15))},
    )
    assert "passed, 10 from seed 5" in outcome.told()
    assert "95 sum" in outcome.told()


@pytest.mark.parametrize(
    ("prove", "case", "why"),
    [
        (fails_at_7, 7, "expected no seven, got 7"),
        (raises, 0, "KeyError: 0"),
        (stops_early, None, "expected 10 cases to be tried, got 3"),
        (fails_unseen, 9, "expected nothing to go wrong unseen"),
        (warns, 0, "DeprecationWarning: old"),
        (fails_in_a_group, 0, "expected one, got two"),
        (side_by_side, 7, "expected no seven, got 7"),
    ],
)
def test_what_fails_is_said_with_its_case(prove: Callable[[Course], None], case: int | None, why: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as it is outside of pytest
        outcome = run(proof(prove), seed=0, count=10)
    assert (outcome.verdict, outcome.case) == ("failed", case)
    assert outcome.why.startswith(why)
    assert "FAILED" in outcome.told()


def test_a_failure_is_repeated_alone_by_the_command_that_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    fake = proof(fails_at_7)
    assert main([fake.name], [fake]) == 1
    again = re.search(r"again: PYTHONPATH=tests python -m proofs (.*)", capsys.readouterr().out)
    assert again is not None
    assert again[1] == "fails_at_7 --seed 7 --count 1"
    assert main(shlex.split(again[1]), [fake]) == 1
    assert main(["fails_at_7", "--seed", "8"], [fake]) == 0


def test_what_cannot_be_tried_is_skipped_aloud(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([], [proof(lacks), proof(holds)]) == 0
    out = capsys.readouterr().out
    assert "SKIPPED: no browser in proof" in out
    assert "1 passed, 0 failed, 1 skipped" in out


@pytest.mark.parametrize("jobs", [1, 2])
def test_ranges_of_cases_add_up(jobs: int) -> None:
    moved: list[int] = []
    outcome = run(proof(holds, parallel=True), seed=3, count=100, jobs=jobs, moved=moved.append)
    assert (outcome.verdict, outcome.count, outcome.facts) == ("passed", 100, {"sum": sum(range(3, 103))})
    assert moved == sorted(moved)
    assert moved[-1] == 100


def test_a_failure_in_another_process_has_its_case() -> None:
    outcome = run(proof(fails_at_7, parallel=True), seed=0, count=40, jobs=2)
    assert (outcome.verdict, outcome.case, outcome.why) == ("failed", 7, "expected no seven, got 7")
    assert "fails_at_7" in outcome.trace


def test_a_single_case_says_how_it_goes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for count in (1, 2):
        Course(seed=0, count=count, folder=tmp_path).tell(f"of {count}")
    assert capsys.readouterr().out == "of 1\n"


def test_json_is_all_that_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--json"], [proof(holds), proof(fails_at_7)]) == 1
    outcomes = msgspec.json.decode(capsys.readouterr().out, type=list[Outcome])
    assert [outcome.verdict for outcome in outcomes] == ["passed", "failed"]


@pytest.mark.parametrize("words", [["nonsense"], ["--count", "0"], ["--long", "--count", "3"]])
def test_a_command_that_makes_no_sense_is_refused(words: list[str]) -> None:
    with pytest.raises(SystemExit):
        main(words, [proof(holds)])


def test_long_runs_are_written_each_beside_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results, page = tmp_path / "results.json", tmp_path / "PROOFS.md"
    monkeypatch.setattr(report, "RESULTS", results)
    monkeypatch.setattr(report, "REPORT", page)
    proofs = [proof(holds), proof(fails_at_7), proof(lacks)]
    assert main(["holds"], proofs) == 0
    assert not results.exists(), "a short run is no result"
    assert main(["holds", "--long"], proofs) == 0
    assert main(["fails_at_7", "lacks", "--long", "--seed", "1"], proofs) == 1
    records = report.read(results)
    assert {name: record.outcome.verdict for name, record in records.items()} == {
        "holds": "passed", "fails_at_7": "failed", "lacks": "skipped"
    }  # fmt: skip
    assert records["holds"].outcome.count == 20
    assert records["holds"].machine.python.startswith("CPython 3.")
    assert records["holds"].machine.commit
    text = page.read_text()
    assert text == report.render(proofs, records)
    assert "passed, 20 from seed 0" in text
    assert (
        "**FAILED**: expected no seven, got 7 (`PYTHONPATH=tests python -m proofs fails_at_7 --seed 7 --count 1`)"
        in text
    )
    assert "SKIPPED: no browser" in text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["PROOFS.md", "results.json"]


def test_a_skipped_run_takes_no_earlier_result_away(tmp_path: Path) -> None:
    files = tmp_path / "results.json", tmp_path / "PROOFS.md"
    fake = proof(holds)
    report.write([fake], [Outcome("holds", "passed", 0, 20)], *files)
    report.write([fake], [Outcome("holds", "skipped", 0, 20, why="no browser")], *files)
    assert report.read(files[0])["holds"].outcome.verdict == "passed"
    report.write([fake], [Outcome("holds", "failed", 0, 20, why="no")], *files)
    assert report.read(files[0])["holds"].outcome.verdict == "failed"
    report.write([proof(lacks)], [], *files)
    assert report.read(files[0]) == {}, "a proof that is gone has no result"


def test_a_run_that_is_stopped_leaves_no_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(course: Course) -> None:
        for _ in course.cases():
            raise KeyboardInterrupt

    monkeypatch.setattr(report, "RESULTS", tmp_path / "results.json")
    monkeypatch.setattr(report, "REPORT", tmp_path / "PROOFS.md")
    with pytest.raises(KeyboardInterrupt):
        main(["--long"], [proof(stopped)])
    assert list(tmp_path.iterdir()) == []


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_bar_and_a_file_seldom_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 0.0
    monkeypatch.setattr("proofs.progress.time.monotonic", lambda: clock)
    for stream, lines in ((Terminal(), 0), (io.StringIO(), 3)):
        clock = 0.0
        with Progress("frames", 100, stream) as progress:
            for done in range(1, 101):
                clock += 1.0
                progress.moved(done)
        text = stream.getvalue()
        assert text.count("\n") == lines
        assert ("[###" in text) is (lines == 0)
        assert "90 of 100, 10 s to go" in text
