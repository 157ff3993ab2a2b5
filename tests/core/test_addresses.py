"""Whose address counts: what a client says of itself never, what a proxy says of it does."""

import pytest

from agent_ws.addresses import UNKNOWN, Addresses

PROXIES = ("127.0.0.1", "10.0.0.0/8", "fd00::/8")

# peer, X-Forwarded-For, the address that counts
CASES: dict[str, tuple[str, list[str], str]] = {
    "nobody between": ("203.0.113.7", [], "203.0.113.7"),
    "a stranger who claims to be another": ("203.0.113.7", ["198.51.100.1"], "203.0.113.7"),
    "a proxy that says nothing": ("10.0.0.1", [], "10.0.0.1"),
    "one proxy": ("10.0.0.1", ["203.0.113.7"], "203.0.113.7"),
    "one proxy, a client that claims to be another": ("10.0.0.1", ["198.51.100.1, 203.0.113.7"], "203.0.113.7"),
    "two proxies": ("10.0.0.1", ["203.0.113.7, 10.0.0.2"], "203.0.113.7"),
    "in lines of their own": ("10.0.0.1", ["198.51.100.1", "203.0.113.7", "10.0.0.2"], "203.0.113.7"),
    "a client that claims to be a proxy": ("10.0.0.1", ["198.51.100.1, 10.9.9.9, 203.0.113.7"], "203.0.113.7"),
    "nobody but proxies": ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
    "a proxy that does not know": ("10.0.0.1", ["198.51.100.1, unknown"], "10.0.0.1"),
    "an empty line": ("10.0.0.1", [""], "10.0.0.1"),
    "nonsense": ("10.0.0.1", ["<script>, 1.2.3"], "10.0.0.1"),
    "with a port": ("10.0.0.1", ["203.0.113.7:4711"], "203.0.113.7"),
    "IPv6 with a port": ("10.0.0.1", ["[2001:db8::7]:4711"], "2001:db8::/64"),
    "IPv6 in brackets": ("10.0.0.1", ["[2001:db8::7]"], "2001:db8::/64"),
    "IPv6": ("2001:db8:1:2:3:4:5:6", [], "2001:db8:1:2::/64"),
    "IPv6, the same customer": ("2001:db8:1:2:ffff::", [], "2001:db8:1:2::/64"),
    "IPv6, another": ("2001:db8:1:3::", [], "2001:db8:1:3::/64"),
    "a proxy by IPv6": ("fd00::1", ["203.0.113.7"], "203.0.113.7"),
    "IPv4 as IPv6": ("::ffff:203.0.113.7", [], "203.0.113.7"),
    "a proxy by IPv4 as IPv6": ("::ffff:10.0.0.1", ["203.0.113.7"], "203.0.113.7"),
    "an interface": ("fe80::1%eth0", [], "fe80::/64"),
    "no address": ("", ["203.0.113.7"], UNKNOWN),
    "a name": ("testclient", ["203.0.113.7"], UNKNOWN),
    "more proxies than are looked at": ("10.0.0.1", ["203.0.113.7" + ", 10.0.0.2" * 1_000], "10.0.0.2"),
}


@pytest.mark.parametrize("name", CASES)
def test_the_address_that_counts(name: str) -> None:
    peer, forwarded, expected = CASES[name]
    assert Addresses(PROXIES).client(peer, forwarded) == expected


def test_without_proxies_nobody_is_believed() -> None:
    addresses = Addresses()
    assert addresses.client("127.0.0.1", ["203.0.113.7"]) == "127.0.0.1"
    assert not addresses.trusts("127.0.0.1")


@pytest.mark.parametrize(
    ("peer", "trusted"), [("10.1.2.3", True), ("127.0.0.1", True), ("127.0.0.2", False), ("", False), ("x", False)]
)
def test_who_is_a_proxy(peer: str, *, trusted: bool) -> None:
    assert Addresses(PROXIES).trusts(peer) is trusted


@pytest.mark.parametrize("proxy", ["", "proxy.example.org", "10.0.0.1/8", "*"])
def test_a_proxy_is_an_address(proxy: str) -> None:
    with pytest.raises(ValueError, match="expected an IP address or a network"):
        Addresses([proxy])
