"""A wrong option is refused where it is given, with what was expected: a server that starts with it would only seem to
work.
"""

import pytest

from agent_ws.cli import main


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
