"""How an agent is found by its name, and what is said when it isn't."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from agent_ws.agents import NoSuchAgent, resolve
from agent_ws.agents.demo import demo
from agent_ws.turn import Turn

MODULE = """
from types import SimpleNamespace


async def agent(turn):
    return "hi"


class Support:
    async def __call__(self, turn):
        return "hi"


team = SimpleNamespace(support=Support())
number = 5
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A directory of our own, with modules whose names no other test has."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    (tmp_path / "mine_for_resolve.py").write_text(MODULE)
    (tmp_path / "broken_for_resolve.py").write_text("import not_installed_anywhere\n")
    (tmp_path / "raising_for_resolve.py").write_text("raise KeyError('PASSWORD')\n")
    yield
    for name in [name for name in sys.modules if name.endswith("_for_resolve")]:
        del sys.modules[name]


def test_without_a_name_and_without_a_key_it_is_the_demo() -> None:
    assert resolve(None) is demo
    assert resolve("demo") is demo


@pytest.mark.parametrize("name", [None, "anthropic"])
def test_with_a_key_or_by_name_it_is_anthropic(name: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    async def made(_turn: Turn) -> None:
        pass

    # A stand-in: this is about which module is asked, and only when.
    monkeypatch.setitem(sys.modules, "agent_ws.agents.anthropic", SimpleNamespace(default=lambda: made))
    monkeypatch.setenv("ANTHROPIC_API_KEY", "test")
    assert resolve(name) is made
    assert resolve("demo") is demo


def test_openai_is_found_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    async def made(_turn: Turn) -> None:
        pass

    monkeypatch.setitem(sys.modules, "agent_ws.agents.openai", SimpleNamespace(default=lambda: made))
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    assert resolve("openai") is made
    assert resolve(None) is demo


def test_where_its_library_is_missing_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "agent_ws.agents.openai", raising=False)
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(NoSuchAgent, match=r"pip install 'agent-ws\[openai\]'"):
        resolve("openai")


def test_an_own_agent_is_found_in_the_current_directory_also_by_a_dotted_attribute() -> None:
    assert callable(resolve("mine_for_resolve:agent"))
    assert type(resolve("mine_for_resolve:team.support")).__name__ == "Support"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("dmeo", r"expected an agent `demo`, `anthropic`, `openai`, `./model.gguf` or `module:attribute`.*got 'dmeo'"),
        ("my-agent:x", "got 'my-agent:x'"),
        ("mine_for_resolve:", "got 'mine_for_resolve:'"),
        (":agent", "got ':agent'"),
        ("nowhere_at_all:agent", "expected a module nowhere_at_all, found none called nowhere_at_all"),
        ("mine_for_resolve.deep:agent", "found none called mine_for_resolve.deep"),
        ("broken_for_resolve:agent", "broken_for_resolve is there, but it imports not_installed_anywhere"),
        ("mine_for_resolve:agnet", "no agnet; what can be called there: .*agent, Support"),
        ("mine_for_resolve:team.sales", "has no sales"),
        ("mine_for_resolve:number", "got int"),
        ("mine_for_resolve:Support", "got a class: make an instance"),
    ],
)
def test_a_wrong_name_is_explained(name: str, said: str) -> None:
    with pytest.raises(NoSuchAgent, match=said):
        resolve(name)


def test_what_the_module_itself_raises_comes_through() -> None:
    with pytest.raises(KeyError, match="PASSWORD"):
        resolve("raising_for_resolve:agent")


def test_no_agent_is_imported_before_it_is_asked_for() -> None:
    code = "import sys, agent_ws.agents; print({'anthropic', 'sqlite3', 'simpleeval'} & set(sys.modules))"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=root)
    assert done.stdout.strip() == "set()"


def test_a_files_name_is_answered_with_the_modules() -> None:
    with pytest.raises(NoSuchAgent, match="write mine_for_resolve:agent"):
        resolve("mine_for_resolve.py:agent")
