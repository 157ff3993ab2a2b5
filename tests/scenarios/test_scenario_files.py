"""What is wrong with a file is told with its line, before anything is played."""

from pathlib import Path

import pytest

from agent_ws.scenarios.files import BadScenario, parse, read
from agent_ws.scenarios.steps import Connect, Reply

HEAD = "scenario: a\nsteps:\n"


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("", "f.yaml: ", "an empty file"),
        ("- 1", "f.yaml:1: ", "expected `scenario:` and `steps:`"),
        ("scenario: a", "f.yaml:1: ", "missing required field `steps`"),
        ("scenario: a\nsteps: []", "f.yaml:2: ", "length >= 1"),
        ("scenario: a\nstep: []\nsteps: [{sleep: 1}]", "f.yaml:1: ", "unknown field `step`"),
        ("scenario: a\npromise: 9\nsteps: [{sleep: 1}]", "f.yaml:2: ", "<= 8"),
        (HEAD + "- sleep: 1\n- sned: x", "f.yaml:4: ", "expected one verb a step"),
        (HEAD + "- sleep: 1\n- send: x\n  expect: done", "f.yaml:4: ", "got send and expect"),
        (HEAD + "- send: x\n  tims: 3", "f.yaml:3: ", "send: object contains unknown field `tims`"),
        (HEAD + "- {}", "f.yaml:3: ", "got none"),
        (HEAD + "- 7", "f.yaml:3: ", "expected `object`, got `int`"),
        (HEAD + "- slow: off", "f.yaml:3: ", "expected `float | null`, got `str`"),
        (HEAD + "- expect: done\n  within: -1", "f.yaml:3: ", ">= 0.0"),
        (HEAD + "- drop: sometimes", "f.yaml:3: ", "invalid enum value 'sometimes'"),
        (HEAD + "- connect: Alice B", "f.yaml:3: ", "matching regex"),
        (HEAD + "- send: x\n  send: y", "f.yaml:4: ", "expected each key once, got 'send' twice"),
        ("scenario: [", "f.yaml:1: ", "but found"),
        ("scenario: \x00", "f.yaml: ", "expected YAML"),
        ("scenario: a\nsteps: [{sleep: 1}]\n---\nscenario: b", "f.yaml:4: ", "missing required field `steps`"),
        ("!!python/object:os.system x", "f.yaml:1: ", "could not determine a constructor"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(text: str, where: str, what: str) -> None:
    with pytest.raises(BadScenario) as told:
        parse(text, "f.yaml")
    assert str(told.value).startswith(where)
    assert what in str(told.value)


def test_a_file_may_have_several_and_each_step_knows_its_line() -> None:
    one, two = parse(
        "# first\nscenario: one\nsteps:\n- connect:\n\n- sleep: 1\n---\nscenario: two\nsteps: [{sleep: 2}]"
    )
    assert [script.title for script in (one, two)] == ["one", "two"]
    assert [line.line for line in one.steps] == [4, 6]
    assert [line.line for line in two.steps] == [9]
    assert one.steps[0].step == Connect(connect=None)


def test_words_are_words_and_numbers_are_numbers() -> None:
    (script,) = parse(HEAD + "- reply: {a: no, b: on, c: 2026-01-01, d: 010, e: 1.5, f: 1e3, g: true, h: , i: ~}")
    step = script.steps[0].step
    assert isinstance(step, Reply)
    assert step.reply == {
        "a": "no", "b": "on", "c": "2026-01-01", "d": "010", "e": 1.5, "f": 1000.0, "g": True, "h": None, "i": None,
    }  # fmt: skip


def test_a_reply_may_name_its_request() -> None:
    (script,) = parse(HEAD + "- reply: {approved: true}\n  request: $q")
    assert isinstance(script.steps[0].step, Reply)


def test_a_file_that_is_not_there_or_not_text_is_told(tmp_path: Path) -> None:
    (tmp_path / "b.scenario.yaml").write_bytes(b"\xff\xfe\xff")
    for name in ("a.scenario.yaml", "b.scenario.yaml"):
        with pytest.raises(BadScenario, match="none that can be read"):
            read(tmp_path / name)
