"""A wrong option is refused where it is given, with what was expected: a server that starts with it would only seem to
work.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent_ws.cli import main
from agent_ws.server import serve
from agent_ws.server.tokens import Tokens, parse


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("--port", "99999", "0 to 65535"),  # the system would take it for 34463
        ("--port", "-1", "0 to 65535"),
        ("--port", "http", "0 to 65535"),
        ("--run-timeout", "0", "more than 0"),
        ("--run-timeout", "-1", "more than 0"),
        ("--orphan-after", "nan", "more than 0"),
        ("--drain", "inf", "more than 0"),
        ("--tool-timeout", "1 min", "more than 0"),
        ("--message-bytes", "0", "from 1 on"),
        ("--message-bytes", "64k", "from 1 on"),
        ("--origin", "localhost", "a URL"),
        ("--origin", "https://app.example.org/", "without a path"),
        ("--host-name", "https://example.org", "without a scheme"),
        ("--host-name", "example.org:8000", "without a scheme and a port"),
        ("--when-busy", "wait", "'queue'"),
        ("--proxy", "proxy.example.org", "an IP address"),
        ("--proxy", "10.0.0.1/8", "an IP address or a network"),
        ("--connections", "0", "from 1 on"),
        ("--address-connections", "-1", "from 1 on"),
        ("--idle-after", "0", "more than 0"),
        ("--tokens", "", "path of a file"),
    ],
)
def test_a_wrong_option_is_refused(option: str, value: str, expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["serve", "demo", f"{option}={value}"])
    assert left.value.code == 2
    said = capsys.readouterr().err
    assert option in said
    assert expected in said
    assert value in said


@pytest.mark.parametrize("store", ["redis:x", "sqlite:", "memory:x", ""])
def test_a_store_that_is_none_is_refused(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "demo", "--store", store]) == 2
    assert "expected a store `memory` or `sqlite:PATH`" in capsys.readouterr().err


# The login


class Started(Exception):
    """The server would serve now."""


@pytest.fixture
def unstarted(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(*_: object, **__: object) -> int:
        raise Started

    monkeypatch.setattr(serve, "serve", start)


@pytest.mark.usefixtures("unstarted")
@pytest.mark.parametrize(
    "host",
    [
        "0.0.0.0",  # noqa: S104 - which is refused
        "::",
        "",
        "192.168.1.2",
        "example.org",
        "localhost.example.org",
        "0",
        "127.1",
    ],
)
def test_what_others_can_reach_needs_a_login_or_a_word(
    host: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", "demo", "--host", host]) == 2
    said = capsys.readouterr().err
    for hint in (f"--host {host!r}", "agent-ws token", "--tokens FILE", "--no-login"):
        assert hint in said
    tokens = tmp_path / "tokens"
    tokens.touch()
    for login in (["--no-login"], ["--tokens", str(tokens)]):
        with pytest.raises(Started):
            main(["serve", "demo", "--host", host, *login])


@pytest.mark.usefixtures("unstarted")
@pytest.mark.parametrize(
    "host", [[], ["--host", "127.0.0.1"], ["--host", "127.9.9.9"], ["--host", "::1"], ["--host", "localhost"]]
)
def test_what_only_this_machine_can_reach_needs_none(host: list[str]) -> None:
    with pytest.raises(Started):
        main(["serve", "demo", *host])


def test_a_login_and_none_at_once_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["serve", "demo", "--tokens", "x", "--no-login"])
    assert left.value.code == 2
    assert "not allowed with" in capsys.readouterr().err


def test_a_tokens_file_that_is_broken_keeps_the_server_from_starting(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("# people\nalice secret-canary\n")
    assert main(["serve", "demo", "--store", "memory", "--tokens", str(tokens)]) == 2
    said = capsys.readouterr().err
    assert f"{tokens}, line 2: expected `NAME sha256:HASH`" in said
    assert "secret-canary" not in said


@pytest.mark.parametrize(
    ("expires", "days"),
    [([], None), (["--expires", "90d"], 90), (["--expires", "36h"], 1.5), (["--expires", "2999-01-31"], 0)],
)
def test_a_token_is_shown_once_and_its_line_is_what_the_server_reads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], expires: list[str], days: float | None
) -> None:
    assert main(["token", "alice", *expires]) == 0
    printed = capsys.readouterr()
    token = printed.err.split()[-1]
    assert token not in printed.out
    (tmp_path / "tokens").write_text(printed.out)
    (login,) = Tokens(str(tmp_path / "tokens"), 1000).known.values()
    assert login.owner == "alice"
    if days is None:
        assert login.expires is None
    else:
        until = datetime.now(UTC) + timedelta(days=days) if days else datetime(2999, 1, 31, tzinfo=UTC)
        assert login.expires == pytest.approx(until.timestamp(), abs=30)
    assert len(parse(printed.out)) == 1


@pytest.mark.parametrize("expires", ["2020-01-01", "0d", "-1d", "1w", "soon", "", "1000000d"])
def test_a_time_that_is_none_or_past_makes_no_token(expires: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["token", "alice", f"--expires={expires}"])
    assert left.value.code == 2
    printed = capsys.readouterr()
    assert "90d" in printed.err
    assert printed.out == ""


def test_a_name_with_a_space_gets_no_token(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["token", "alice smith"]) == 2
    assert "without spaces" in capsys.readouterr().err
