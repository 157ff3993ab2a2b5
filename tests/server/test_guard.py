"""Who may talk to the server, by Host, Origin and Sec-Fetch-Site, on every way in."""

from hashlib import sha256
from pathlib import Path

import pytest
from live import MakeSite, Site
from wire import STREAM, EventSource

from agent_ws.agents.scripted import Scripted

LISTED = "https://app.example.org"
SAY = {"message": "Hello agent"}

# {port} is the server's own
ORIGINS = {
    "exact": (LISTED, True),
    "second in the list": ("http://other.example.org:8080", True),
    "prefix": ("https://app.example.or", False),
    "longer": ("https://app.example.org.evil.example", False),
    "suffix": ("https://evil-app.example.org", False),
    "subdomain": ("https://x.app.example.org", False),
    "parent": ("https://example.org", False),
    "another scheme": ("http://app.example.org", False),
    "a scheme of another kind": ("chrome-extension://app.example.org", False),
    "a port": ("https://app.example.org:8443", False),
    "the default port spelled out": ("https://app.example.org:443", False),
    "no port where one is listed": ("http://other.example.org", False),
    "user info": ("https://app.example.org@evil.example", False),
    "user info before": ("https://evil@app.example.org", False),
    "trailing dot": ("https://app.example.org.", False),
    "trailing slash": ("https://app.example.org/", False),
    "a path": ("https://app.example.org/x", False),
    "upper case": ("https://APP.example.org", False),
    "null": ("null", False),
    "empty": ("", False),
    "a star": ("*", False),
    "both in one": (f"{LISTED}, {LISTED}", False),
    "no scheme": ("app.example.org", False),
    "an address of IPv6": ("http://[::1]", False),
}
OWN = {
    "own": ("http://localhost:{port}", True),
    "own, behind a proxy with TLS": ("https://localhost:{port}", True),
    "another port": ("http://localhost:1", False),
    "no port": ("http://localhost", False),
    "the address instead of the name": ("http://127.0.0.1:{port}", False),
    "prefix": ("http://localhos", False),
    "longer": ("http://localhost:{port}0", False),
    "subdomain": ("http://x.localhost:{port}", False),
    "longer name": ("http://localhost:{port}.evil.example", False),
    "user info": ("http://x@localhost:{port}", False),
    "trailing dot": ("http://localhost.:{port}", False),
    "trailing slash": ("http://localhost:{port}/", False),
    "upper case": ("http://LOCALHOST:{port}", False),
    "another scheme": ("ftp://localhost:{port}", False),
    "null": ("null", False),
    "empty": ("", False),
    "foreign": ("https://evil.example", False),
    "an address of IPv6": ("http://[::1]:{port}", False),
}


async def statuses(site: Site, fields: list[tuple[str, str]]) -> dict[str, int]:
    """What each way in answers."""
    _, handshake = await site.shake_hands(fields)
    post = await site.post(STREAM, SAY, fields)
    get = await site.get(f"{STREAM}?message=x", fields)
    call = await site.post("/api/agent/interrupt", SAY, fields)
    ticket = await site.post("/api/agent/ticket", b"", fields)
    asset = await site.get("/assets/chat.js", fields)
    answers = {"handshake": handshake, "post": post, "get": get, "call": call, "ticket": ticket, "asset": asset}
    return {name: answer.status for name, answer in answers.items()}


PASSED = {"handshake": 101, "post": 200, "get": 200, "call": 400, "ticket": 404, "asset": 200}
REFUSED = dict.fromkeys(PASSED, 403)


@pytest.mark.parametrize("name", ORIGINS)
async def test_an_origin_with_a_list(make_site: MakeSite, name: str) -> None:
    origin, allowed = ORIGINS[name]
    site = await make_site(Scripted(["Hi"]), origins=(LISTED, "http://other.example.org:8080"))
    assert await statuses(site, [("origin", origin)]) == (PASSED if allowed else REFUSED)


@pytest.mark.parametrize("name", OWN)
async def test_an_origin_without_a_list(make_site: MakeSite, name: str) -> None:
    origin, allowed = OWN[name]
    agent = Scripted(["Hi"])
    site = await make_site(agent)
    assert await statuses(site, [("origin", origin.format(port=site.port))]) == (PASSED if allowed else REFUSED)
    assert bool(agent.turns) is allowed


# With a login


@pytest.fixture
def tokens(tmp_path: Path) -> str:
    path = tmp_path / "tokens"
    path.write_text(f"alice sha256:{sha256(b'token').hexdigest()}\n")
    return str(path)


BEARER = ("authorization", "Bearer token")


@pytest.mark.parametrize("name", [*ORIGINS, "missing"])
async def test_a_login_makes_no_origin_better(make_site: MakeSite, tokens: str, name: str) -> None:
    origin, allowed = ORIGINS.get(name, ("", True))
    fields = [] if name == "missing" else [("origin", origin)]
    site = await make_site(Scripted(["Hi"]), origins=(LISTED, "http://other.example.org:8080"), tokens=tokens)
    assert await statuses(site, [*fields, BEARER]) == (PASSED | {"ticket": 200} if allowed else REFUSED)
    without = PASSED | {"post": 401, "get": 401, "call": 401, "ticket": 401}
    assert await statuses(site, fields) == (without if allowed else REFUSED)


@pytest.mark.parametrize("name", [*ORIGINS, "missing"])
async def test_a_ticket_is_good_where_it_was_asked_for_and_nowhere_else(
    make_site: MakeSite, tokens: str, name: str
) -> None:
    origin, allowed = ORIGINS.get(name, ("", True))
    site = await make_site(Scripted(["Hi"]), origins=(LISTED, "http://other.example.org:8080"), tokens=tokens)
    answer = await site.post("/api/agent/ticket", b"", [("origin", LISTED), BEARER])
    offered = f"agent-ws.v1.json, agent-ws.ticket.{(await answer.json())['ticket']}"
    fields = [] if name == "missing" else [("origin", origin)]
    _, handshake = await site.shake_hands([*fields, ("sec-websocket-protocol", offered)])
    assert handshake.status == (101 if origin == LISTED else 401 if allowed else 403)
    if origin == LISTED:
        assert handshake.header("sec-websocket-protocol") == "agent-ws.v1.json"


async def test_an_origin_of_ipv6(make_site: MakeSite) -> None:
    site = await make_site(Scripted(["Hi"]))
    host = ("host", f"[::1]:{site.port}")
    assert await statuses(site, [host, ("origin", f"http://[::1]:{site.port}")]) == PASSED
    assert await statuses(site, [host, ("origin", f"http://[::2]:{site.port}")]) == REFUSED
    assert await statuses(site, [host, ("origin", f"http://[0:0:0:0:0:0:0:1]:{site.port}")]) == REFUSED


@pytest.mark.parametrize("origins", [(), (LISTED,)])
async def test_an_origin_sent_twice_is_none(make_site: MakeSite, origins: tuple[str, ...]) -> None:
    site = await make_site(Scripted(["Hi"]), origins=origins)
    origin = LISTED if origins else f"http://localhost:{site.port}"
    for second in (origin, "https://evil.example"):
        # A handshake that has it twice is none for the WebSocket library already.
        assert await statuses(site, [("origin", origin), ("origin", second)]) == REFUSED | {"handshake": 400}


@pytest.mark.parametrize("origins", [(), (LISTED,)])
@pytest.mark.parametrize(
    ("fetched", "allowed"),
    [
        ((), True),
        (("none",), True),
        (("same-origin",), True),
        (("same-site",), False),
        (("cross-site",), False),
        (("",), False),
        (("SAME-ORIGIN",), False),
        (("none", "cross-site"), False),
    ],
)
async def test_without_an_origin_the_browser_says_where_a_request_comes_from(
    make_site: MakeSite, origins: tuple[str, ...], fetched: tuple[str, ...], *, allowed: bool
) -> None:
    site = await make_site(Scripted(["Hi"]), origins=origins)
    fields = [("sec-fetch-site", value) for value in fetched]
    assert await statuses(site, fields) == (PASSED if allowed else REFUSED)


async def test_an_origin_that_is_allowed_may_be_another_site(make_site: MakeSite) -> None:
    site = await make_site(Scripted(["Hi"]), origins=(LISTED,))
    assert await statuses(site, [("origin", LISTED), ("sec-fetch-site", "cross-site")]) == PASSED


async def test_the_page_may_be_linked_to_and_nothing_else(make_site: MakeSite) -> None:
    site = await make_site(Scripted(["Hi"]))
    linked = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    assert (await site.get("/", linked)).status == 200
    for path in ("/assets/chat.js", f"{STREAM}?message=x", "//", "/%2e"):
        assert (await site.get(path, linked)).status == 403
    assert (await site.get("/", {"origin": "https://evil.example"})).status == 403
    assert (await site.get("/", {"host": "evil.example"})).status == 403


# {port} is the server's own
HOSTS = {
    "localhost": ("localhost", True),
    "upper case": ("LOCALHOST", True),
    "with a port": ("localhost:{port}", True),
    "with another port": ("localhost:1", True),
    "an address": ("127.0.0.1", True),
    "an address with a port": ("127.0.0.1:{port}", True),
    "an address of the network": ("192.168.1.20:{port}", True),
    "IPv6": ("[::1]", True),
    "IPv6 with a port": ("[::1]:{port}", True),
    "a foreign name, as with DNS rebinding": ("evil.example", False),
    "a foreign name with our port": ("evil.example:{port}", False),
    "a name that points to loopback": ("localhost.evil.example", False),
    "a name that is public for loopback": ("127.0.0.1.nip.io", False),
    "a name below localhost": ("x.localhost", False),
    "trailing dot": ("localhost.", False),
    "user info": ("evil.example@localhost", False),
    "user info, our name": ("localhost@evil.example", False),
    "user info and a port": ("x:y@localhost:{port}", False),
    "a path": ("localhost/evil.example", False),
    "a query": ("localhost?evil.example", False),
    "a fragment": ("localhost#evil.example", False),
    "a scheme": ("http://localhost", False),
    "an endless port": ("localhost:123456", False),
    "a port that is none": ("localhost:x", False),
    "a port missing": ("localhost:", False),
    "IPv6 without brackets": ("::1", False),
    "a name in brackets": ("[localhost]", False),
    "IPv4 in brackets": ("[127.0.0.1]", False),
    "brackets and more": ("[::1]evil.example", False),
    "an open bracket": ("[::1", False),
    "a short address": ("127.1", False),
    "an address as a number": ("2130706433", False),
    "an octal address": ("0177.0.0.1", False),
    "two": ("localhost, evil.example", False),
    "a space inside": ("local host", False),
    "not ASCII": ("l\xf6calhost", False),
    "empty": ("", False),
}


@pytest.mark.parametrize("name", HOSTS)
async def test_a_host_without_a_list(make_site: MakeSite, name: str) -> None:
    host, allowed = HOSTS[name]
    agent = Scripted(["Hi"])
    site = await make_site(agent)
    assert await statuses(site, [("host", host.format(port=site.port))]) == (PASSED if allowed else REFUSED)
    assert bool(agent.turns) is allowed


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("chat.example.org", True),
        ("CHAT.example.org:{port}", True),
        ("second.example.org", True),
        ("x.chat.example.org", False),
        ("chat.example.org.", False),
        ("chat.example.org.evil.example", False),
        ("chat.example.or", False),
        ("localhost", False),
        ("127.0.0.1", False),
        ("evil@chat.example.org", False),
    ],
)
async def test_a_host_with_a_list(make_site: MakeSite, host: str, *, allowed: bool) -> None:
    site = await make_site(Scripted(["Hi"]), hosts=("chat.example.org", "Second.Example.org"))
    assert await statuses(site, [("host", host.format(port=site.port))]) == (PASSED if allowed else REFUSED)


async def test_a_host_sent_twice_or_not_at_all(make_site: MakeSite) -> None:
    site = await make_site(Scripted(["Hi"]))
    twice = await site.post(STREAM, SAY, [("host", "localhost"), ("host", "evil.example")])
    assert twice.status in (400, 403)
    _, writer = connection = await site.dial()
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    line = await connection[0].readline()
    assert line.split()[1] in (b"400", b"403")


async def test_a_rebound_page_gets_nothing_however_it_asks(make_site: MakeSite) -> None:
    site = await make_site(Scripted(["Hi"]))
    host = f"evil.example:{site.port}"
    page = [("host", host), ("origin", f"http://{host}"), ("sec-fetch-site", "same-origin")]
    assert await statuses(site, page) == REFUSED
    assert await statuses(site, page[:1] + page[2:]) == REFUSED


async def test_a_refusal_says_what_to_do_and_is_logged_once(
    make_site: MakeSite, caplog: pytest.LogCaptureFixture
) -> None:
    site = await make_site(Scripted(["Hi"]))
    response = await site.get("/x%0aFAKE%20LINE?canary", {"origin": "https://evil.example"})
    error = (await response.json())["error"]
    assert error["code"] == "forbidden"
    assert "--origin" in error["message"]
    (record,) = caplog.records
    assert "https://evil.example" in record.getMessage()
    assert "\n" not in record.getMessage()
    assert "canary" not in record.getMessage()
    caplog.clear()
    response = await site.get("/", {"host": "evil.example" * 100})
    assert "--host-name" in (message := (await response.json())["error"]["message"])
    assert len(message) < 250
    assert len(caplog.records) == 1


# The probes


async def test_the_probes_answer_whoever_asks(make_site: MakeSite) -> None:
    site = await make_site(Scripted(["Hi"]), hosts=("chat.example.org",))
    for fields in ({}, {"host": "10.0.0.7:8000"}, {"host": "evil.example", "origin": "null"}, {"host": ""}):
        health = await site.get("/healthz", fields)
        assert (health.status, await health.json()) == (200, {"status": "ok"})
        ready = await site.get("/readyz", fields)
        assert (ready.status, (await ready.json())["status"]) == (200, "ready")
    for path in ("/healthz/", "/healthz/../", "/HEALTHZ", "//healthz"):
        assert (await site.get(path, {"host": "evil.example"})).status == 403


async def test_a_server_that_drains_is_healthy_and_not_ready(make_site: MakeSite) -> None:
    site = await make_site(Scripted(["Hi"]))
    await site.gateway.drain()
    assert (await site.get("/healthz")).status == 200
    ready = await site.get("/readyz")
    assert (ready.status, (await ready.json())["status"]) == (503, "not ready")
    _, handshake = await site.shake_hands()
    assert handshake.status == 503
    assert (await handshake.json())["error"]["code"] == "shutting_down"


# The page


async def test_the_page_can_run_nothing_but_its_own_and_be_framed_by_nobody(make_site: MakeSite) -> None:
    site = await make_site(Scripted(["Hi"]))
    for path in ("/", "/assets/chat.js", "/assets/highlight.js", "/assets/chat.css"):
        response = await site.get(path)
        assert response.status == 200
        rules = dict(rule.strip().split(" ", 1) for rule in response.header("content-security-policy").split(";"))
        assert rules["default-src"] == "'none'"
        assert rules["script-src"] == rules["connect-src"] == "'self'"
        assert rules["require-trusted-types-for"] == "'script'"
        assert rules["trusted-types"] == "'none'"
        assert rules["frame-ancestors"] == rules["base-uri"] == rules["form-action"] == "'none'"
        assert not any("unsafe" in rule or "*" in rule or "http" in rule for rule in rules.values())
        assert response.header("x-content-type-options") == "nosniff"
        assert response.header("referrer-policy") == "no-referrer"
        assert response.header("cache-control") == "no-cache"


@pytest.mark.parametrize(
    "path", ["/assets/../app.py", "/assets/../index.html", "/assets/%2e%2e/pyproject.toml", "/assets/..%2fPROTOCOL.md"]
)
async def test_no_file_is_served_that_is_not_the_pages(make_site: MakeSite, path: str) -> None:
    site = await make_site(Scripted(["Hi"]))
    assert (await site.get(path)).status == 404


# CORS


async def test_a_listed_page_may_read_the_answers(make_site: MakeSite) -> None:
    site = await make_site(Scripted(["Hi"]), origins=(LISTED,))
    asked = {"origin": LISTED, "access-control-request-method": "POST"}
    asked["access-control-request-headers"] = "authorization, content-type, last-event-id"
    preflight = await site.request("OPTIONS", STREAM, fields=asked)
    assert preflight.status == 200
    assert preflight.header("access-control-allow-origin") == LISTED
    assert preflight.header("access-control-allow-credentials") == "true"
    assert "POST" in preflight.header("access-control-allow-methods")
    response = await site.post(STREAM, SAY, {"origin": LISTED})
    assert response.header("access-control-allow-origin") == LISTED
    assert "origin" in response.header("vary").lower()
    await response.body()


async def test_a_page_that_is_not_listed_may_not(make_site: MakeSite) -> None:
    for origins in ((LISTED,), ()):
        site = await make_site(Scripted(["Hi"]), origins=origins)
        asked = {"origin": "https://evil.example", "access-control-request-method": "POST"}
        preflight = await site.request("OPTIONS", STREAM, fields=asked)
        assert preflight.status == 403
        assert preflight.header("access-control-allow-origin") == ""


async def test_the_own_page_needs_no_cors(make_site: MakeSite) -> None:
    site = await make_site(Scripted(["Hi"]))
    response = await site.post(STREAM, SAY, {"origin": f"http://localhost:{site.port}"})
    assert response.header("access-control-allow-origin") == ""
    await response.body()


async def test_a_stream_is_served_on_every_way_that_the_guard_lets_through(make_site: MakeSite) -> None:
    site = await make_site(Scripted(["Hi"]), origins=(LISTED,))
    source = EventSource(site, f"{STREAM}?message=x", {"origin": LISTED, "sec-fetch-site": "cross-site"})
    assert await source.open() == 200
    await source.end()
    assert source.text == "Hi"


# What is nowhere


async def test_what_is_nowhere_is_told_as_everything_is(make_site: MakeSite) -> None:
    site = await make_site(Scripted(["Hi"]))
    for path in ("/nowhere", "/assets/nowhere.js", "/api/agent", "/ws"):
        response = await site.get(path)
        assert (response.status, (await response.json())["error"]["code"]) == (404, "not_found")
    _, handshake = await site.shake_hands(path="/nowhere")
    assert (handshake.status, (await handshake.json())["error"]["code"]) == (404, "not_found")
    for method, path in (
        ("POST", "/"),
        ("GET", "/api/agent/interrupt"),
        ("DELETE", STREAM),
        ("POST", "/assets/chat.js"),
    ):
        response = await site.request(method, path)
        assert (response.status, (await response.json())["error"]["code"]) == (405, "method_not_allowed")
    assert (await site.request("PUT", STREAM)).header("allow")
    assert (await site.get("/nowhere", {"origin": "https://evil.example"})).status == 403, "behind the guard too"
