"""What is generated for clients in other languages is committed as it is generated."""

from pathlib import Path
from typing import Any

import pytest
from frames import typescript
from write import ROOT, documents

from agent_ws.schema import json_schema


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.name)
def test_what_is_committed_is_what_is_generated(path: Path) -> None:
    assert path.read_text() == documents()[path], f"{path.relative_to(ROOT)} is old: run tests/client/write.py"


def test_every_frame_of_the_schema_has_a_type() -> None:
    text = typescript(json_schema())
    for name in json_schema()["$defs"]:
        assert f" {'RunError' if name == 'Error' else name} " in text, name


def test_a_word_of_the_schema_that_is_not_known_is_an_error() -> None:
    odd: Any = {"type": "object", "properties": {"a": {"type": "string", "pattern": "x"}}, "required": []}
    with pytest.raises(ValueError, match=r"got \['pattern'\] too"):
        typescript({"$defs": {"Odd": odd}})
