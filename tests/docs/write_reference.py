"""Writes the reference: `.venv/bin/python tests/docs/write_reference.py`.

The one rule: whatever it writes, a test compares with a fresh one. Run it where a type, a docstring, an option or a
setting has changed.
"""

from pathlib import Path

import reference_cli
import reference_frames
import reference_python
import reference_settings
import reference_typescript
from pages import GENERATED


def documents() -> dict[Path, str]:
    """What is to stand in which file."""
    return {
        GENERATED / "frames.md": reference_frames.page(),
        GENERATED / "cli.md": reference_cli.page(),
        GENERATED / "settings.md": reference_settings.page(),
        GENERATED / "python.md": reference_python.page(),
        GENERATED / "typescript.md": reference_typescript.page(),
    }


if __name__ == "__main__":
    for path, text in documents().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
