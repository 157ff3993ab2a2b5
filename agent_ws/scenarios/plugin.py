"""The pytest plugin: `*.scenario.yaml` are tests, and two fixtures give tests in Python the same clients.

The one rule: it costs nothing where it is not used: what it needs is imported when a scenario or a fixture is.

    # pytest.ini: the agent of scenarios that name none
    [pytest]
    agent_ws_agent = my_agents:support

    def test_it_stops(gateway, scripted_client):
        alice = scripted_client(gateway(my_agent))
        alice.send("Tell me a story")
        alice.interrupt({"seen": 20}, after={"chars": 20})
        assert alice.expect("interrupted", within=1)["seen"] == 20

`pytest --agent-ws-url http://127.0.0.1:8000` plays the scenarios against a server instead.
"""

import asyncio
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from ..settings import Settings
    from ..turn import Agent
    from .background import Background, ScriptedClient
    from .files import Script
    from .player import Outcome

SUFFIX = ".scenario.yaml"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where scenarios are played."""
    group = parser.getgroup("agent-ws")
    group.addoption("--agent-ws-url", default="", metavar="URL", help="play *.scenario.yaml against this server")
    group.addoption("--agent-ws-token", default="", metavar="TOKEN", help="the login for that server")
    parser.addini("agent_ws_agent", "module:attribute of the agent that scenarios are played against", default="")


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """A file with scenarios."""
    if file_path.name.endswith(SUFFIX):
        return _made(ScenarioFile, parent, path=file_path)
    return None


class ScenarioFile(pytest.File):
    """One item for each scenario of the file."""

    def collect(self) -> Iterator[pytest.Item]:
        from .files import BadScenario, read  # noqa: PLC0415 - see the rule above

        try:
            scripts = read(self.path)
        except BadScenario as error:
            raise self.CollectError(str(error)) from None
        for script in scripts:
            yield _made(ScenarioItem, self, name=script.title, script=script)


class ScenarioItem(pytest.Item):
    """A scenario as a test."""

    def __init__(self, *, script: "Script", **more: Any) -> None:
        super().__init__(**more)  # pyright: ignore[reportUnknownMemberType] - pytest has no types for it
        self.script = script

    def runtest(self) -> None:
        """Play it."""
        outcome = asyncio.run(self._play())
        if outcome.result == "skipped":
            pytest.skip(outcome.skipped)
        if outcome.failure is not None:
            raise _Failed(outcome)

    async def _play(self) -> "Outcome":
        from .player import play  # noqa: PLC0415 - see the rule above
        from .playing import play_served, target  # noqa: PLC0415

        options = self.config.option
        if options.agent_ws_url:
            return await play(self.script, target(options.agent_ws_url, options.agent_ws_token))
        agent: str = self.config.getini("agent_ws_agent")
        if not (self.script.head.agent or agent):
            raise pytest.UsageError(
                "expected an agent for the scenario: `agent: module:attribute` in its file, `agent_ws_agent` in the "
                "configuration of pytest, or a server by --agent-ws-url"
            )
        return await play_served(self.script, agent)

    def repr_failure(self, excinfo: Any, style: Any = None) -> Any:
        """What failed, without a traceback of the player's."""
        from .report import told  # noqa: PLC0415 - see the rule above

        if isinstance(excinfo.value, _Failed):
            return told(excinfo.value.outcome)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int, str]:
        """Where it is."""
        return self.path, self.script.line - 1, self.name


def _made(kind: Any, parent: pytest.Collector, **how: Any) -> Any:
    """A node of pytest's, whose constructor has no types."""
    return kind.from_parent(parent, **how)


class _Failed(Exception):
    def __init__(self, outcome: "Outcome") -> None:
        super().__init__(outcome.script.title)
        self.outcome = outcome


@pytest.fixture
def agent_ws_background() -> "Generator[Background]":
    """Where servers and clients of one test run."""
    from .background import Background  # noqa: PLC0415 - see the rule above

    with Background() as background:
        yield background


@pytest.fixture
def gateway(agent_ws_background: "Background", request: pytest.FixtureRequest) -> "Callable[..., str]":
    """Call it with an agent (and settings) to have it served until the test's end; it returns the URL. Without an
    agent: the one of `agent_ws_agent`.
    """

    def serve(agent: "Agent | str" = "", settings: "Settings | None" = None) -> str:
        return agent_ws_background.serve(agent or request.config.getini("agent_ws_agent"), settings)

    return serve


@pytest.fixture
def scripted_client(agent_ws_background: "Background") -> "Callable[..., ScriptedClient]":
    """Call it with a URL (and options of the step `connect`) to have a client; each is a person of its own."""
    return agent_ws_background.client
