"""Each proof in its short form, with the same cases each time."""

import asyncio
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from . import report
from .background import Background
from .proof import Proof
from .registry import PROOFS
from .runner import run, said


@pytest.mark.proof
@pytest.mark.timeout(900)  # bombs are thrown again where the machine was busy
@pytest.mark.parametrize("proof", PROOFS, ids=lambda proof: proof.name)
def test_it_holds(
    proof: Proof, background: dict[str, Background], record_property: Callable[[str, object], None]
) -> None:
    begun = background.get(proof.name)
    outcome = begun.outcome() if begun else run(proof, seed=0, count=proof.short)
    asyncio.set_event_loop(None)  # a proof leaves none behind, and the plugin asks for the one of before
    if outcome.verdict == "skipped":
        pytest.skip(outcome.why)
    assert outcome.verdict == "passed", outcome.told()
    record_property("facts", f"{outcome.count:,} {proof.unit} in {outcome.seconds} s: {said(outcome.facts)}")


def test_the_page_says_what_the_results_say() -> None:
    assert report.REPORT.read_text() == report.render(PROOFS, report.read()), "run `python -m proofs --render`"


def test_only_proofs_that_exist_are_named() -> None:
    names = {proof.name for proof in PROOFS}
    assert set(report.read()) <= names
    for page in ("README.md", "PROOFS.md", "CONTRIBUTING.md"):
        text = (report.ROOT / page).read_text()
        named = re.findall(r"python -m proofs ([a-z_]+)|make prove ARGS=([a-z_]+)", text)
        assert {name for pair in named for name in pair if name} <= names, page


def test_each_proof_has_a_file_of_its_name() -> None:
    for proof in PROOFS:
        assert (Path(__file__).parent / f"{proof.name}.py").exists()
        assert 1 <= proof.short <= proof.long
