"""The reference is committed as it is generated, and leaves nothing out."""

import re
from pathlib import Path

import pytest
import reference_python
from declared import exported
from frames_shown import check_frames
from pages import GENERATED, ROOT, blocks, links
from write_reference import documents

from agent_ws.cli import COMMANDS
from agent_ws.schema import json_schema


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.name)
def test_what_is_committed_is_what_is_generated(path: Path) -> None:
    fresh = documents()[path]
    assert path.read_text() == fresh, f"{path.relative_to(ROOT)} is old: run tests/docs/write_reference.py"


def test_no_page_is_left_that_nothing_writes() -> None:
    assert {*GENERATED.iterdir()} == {*documents()}


def test_every_frame_and_field_is_there() -> None:
    page = (GENERATED / "frames.md").read_text()
    for name, schema in json_schema()["$defs"].items():
        tag = schema.get("properties", {}).get("type", {}).get("enum", [name])[0]
        if "properties" in schema and name not in {"Call", "Section", "Usage", "LimitsNotice"}:
            assert f"\n### {tag}\n" in page, name
        for field in schema.get("properties", {}):
            assert f"`{field}`" in page or field == "type" or name in {"Call", "Section", "Usage", "LimitsNotice"}, (
                field
            )


def test_the_protocols_examples_are_frames() -> None:
    shown = [block for block in blocks(ROOT / "PROTOCOL.md") if block.language == "json"]
    assert len(shown) > 5
    for block in shown:
        check_frames(block)  # the page takes them from there


def test_every_command_has_its_options() -> None:
    page = (GENERATED / "cli.md").read_text()
    for command in COMMANDS:
        assert f"\n## agent-ws {command.__name__.rpartition('.')[2]}\n" in page
    assert "`--store STORE` | where sessions are: sqlite:PATH or memory (sqlite:agent_ws.db) |" in page


def test_everything_that_is_exported_is_there() -> None:
    python = (GENERATED / "python.md").read_text()
    for name in {*exported("agent_ws"), *exported("agent_ws.client")} - reference_python.ELSEWHERE:
        assert f"\n### {name}\n" in python, name
    typescript = (GENERATED / "typescript.md").read_text()
    for name in re.findall(r"^  (?:type )?(\w+),$", (ROOT / "web/client/src/index.ts").read_text(), re.MULTILINE):
        assert f"\n### {name}\n" in typescript, name


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.name)
def test_its_links_lead_somewhere(path: Path) -> None:
    for target in links(path):
        if "://" not in target:
            assert (path.parent / target.partition("#")[0]).exists(), target
