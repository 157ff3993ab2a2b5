"""No token is ever in a recording, however it came."""

import base64
from typing import Any

import msgspec
import pytest

from agent_ws.recording import FromClient
from agent_ws.recordings.secrets import Secrets

TOKEN = "agent-ws-3Yc0vDq1canary0000000000000000"
JSON = "agent-ws.v1.json"
MSGPACK = "agent-ws.v1.msgpack"


def hidden(secrets: Secrets, message: str | bytes, subprotocol: str = JSON) -> FromClient:
    return FromClient(0, 1, **secrets.form(message, subprotocol))


def shown(line: FromClient) -> str:
    return msgspec.json.encode(line).decode() + base64.b64decode(line.base64 or "").decode(errors="replace")


@pytest.mark.parametrize("field", ["token", "ticket"])
def test_a_field_gets_a_name_and_all_else_stays_as_it_came(field: str) -> None:
    line = hidden(Secrets(), f'{{"type":"hello",  "{field}": "{TOKEN}", "after": 1.0}}')
    assert line.message(binary=False) == f'{{"type":"hello",  "{field}": "secret-1", "after": 1.0}}'


def test_one_secret_has_one_name() -> None:
    secrets = Secrets()
    names = [
        hidden(secrets, msgspec.json.encode({"type": "hello", "token": token}).decode()).value["token"]
        for token in (TOKEN, TOKEN + "2", TOKEN)
    ]
    assert names == ["secret-1", "secret-2", "secret-1"]


@pytest.mark.parametrize(
    "message",
    [
        '{"type":"hello","token":"' + "".join(f"\\u{ord(char):04x}" for char in TOKEN) + '"}',
        f'{{"type":"hello","token":"{TOKEN}"',  # cut off: no JSON
        f'{{"type":"hello",\n"token":\n"{TOKEN}"}}',
        f'{{"token":"x","token":"{TOKEN}"}}',
        f'{{"type":"session","token":"{TOKEN}"}}',
        msgspec.msgpack.encode({"type": "hello", "token": TOKEN}),
    ],
)
def test_a_field_is_found_however_it_is_written(message: str | bytes) -> None:
    assert TOKEN not in shown(hidden(Secrets(), message, MSGPACK if isinstance(message, bytes) else JSON))


@pytest.mark.parametrize(
    "message",
    [
        f'{{"type":"message","data":"My token is {TOKEN}."}}',
        f'{{"type":"reply","request":"q1","data":{{"headers":{{"x":"Bearer {TOKEN}"}}}}}}',
        f"no JSON: {TOKEN}",
        b"\xc1 no MessagePack: " + TOKEN.encode(),
        msgspec.msgpack.encode({"type": "message", "data": f"My token is {TOKEN}."}),
        msgspec.msgpack.encode({"type": "message", "data": TOKEN.encode()}),
    ],
)
def test_what_is_known_is_found_everywhere(message: str | bytes) -> None:
    secrets = Secrets()
    secrets.learn("Authorization", f"Bearer {TOKEN}")
    assert TOKEN not in shown(hidden(secrets, message, MSGPACK if isinstance(message, bytes) else JSON))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("authorization", f"Bearer {TOKEN}"),
        ("Cookie", f"a=b; agent_ws_owner={TOKEN}"),
        ("Set-Cookie", f"agent_ws_owner={TOKEN}; HttpOnly; SameSite=Strict"),
        ("Sec-WebSocket-Protocol", f"agent-ws.v1.json, agent-ws.ticket.{TOKEN}"),
    ],
)
def test_a_handshake_tells_them(name: str, value: str) -> None:
    secrets = Secrets()
    secrets.learn(name, value)
    assert TOKEN not in shown(hidden(secrets, f"It is {TOKEN}."))


def test_a_short_one_is_hidden_where_it_is_one_and_no_word_is_lost() -> None:
    secrets = Secrets()
    line = hidden(secrets, '{"type":"hello","token":"a","session":"a"}')
    assert line.value == {"type": "hello", "token": "secret-1", "session": "a"}
    assert hidden(secrets, '{"message":"a"}').message(binary=False) == '{"message":"a"}'


@pytest.mark.parametrize("path", ["/ws?token={}", "/ws?chunk=word&ticket={}&x=1"])
def test_an_address_has_none(path: str) -> None:
    assert Secrets().path(path.format(TOKEN)) == path.format("secret-1")


@pytest.mark.parametrize("value", [1, None, [], "", {"token": TOKEN[:4]}])
def test_a_field_that_is_no_secret_is_left_alone(value: Any) -> None:
    message = msgspec.json.encode({"type": "hello", "token": value}).decode()
    assert hidden(Secrets(), message).message(binary=False) == message
