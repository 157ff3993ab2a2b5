"""Whose address a request counts for.

The one rule: what a request says about its address is believed of a trusted proxy only, and of what that one says only
the part that it added itself. Anybody can write the rest.
"""

import ipaddress
from collections.abc import Iterable, Sequence
from typing import TypeAlias

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

HOPS = 16
"""Proxies behind each other that are looked at. A header is as long as a client likes."""
SITE_BITS = 64
"""What one customer gets of IPv6 at least (RFC 6177): whoever has one address there has 2^64."""
UNKNOWN = "unknown"
"""The address of what has none: a Unix socket, or a server that doesn't tell."""


class Addresses:
    """Tells clients apart. `proxies`: addresses or networks whose `X-Forwarded-For` counts.

    Raises `ValueError` for one that is neither.
    """

    def __init__(self, proxies: Iterable[str] = ()) -> None:
        self._proxies = tuple(network(proxy) for proxy in proxies)

    def trusts(self, peer: str) -> bool:
        """Whether `peer` is one of the proxies."""
        return bool(self._proxies) and self._is_proxy(_parse(peer))

    def client(self, peer: str, forwarded: Sequence[str] = ()) -> str:
        """The address that a request counts for: the peer's, or behind proxies the last one that is none of theirs.

        `forwarded`: the lines of `X-Forwarded-For`. Addresses of IPv6 that belong to one customer are one.
        """
        hop = _parse(peer)
        if forwarded and self._is_proxy(hop):
            for entry in reversed(",".join(forwarded).rsplit(",", HOPS)[-HOPS:]):
                said = _parse(_without_port(entry.strip()))
                if said is None:
                    break  # the proxy doesn't know either: then it is the last one known
                hop = said
                if not self._is_proxy(hop):
                    break
        return UNKNOWN if hop is None else key(hop)

    def _is_proxy(self, address: Address | None) -> bool:
        return address is not None and any(address in network for network in self._proxies)


def network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """An address or a network. Raises `ValueError`."""
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        raise ValueError(f"expected an IP address or a network (10.0.0.0/8), got {text!r}") from None


def key(address: Address) -> str:
    """What stands for `address` where clients are counted."""
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return str(ipaddress.IPv6Address(int(address) >> SITE_BITS << SITE_BITS)) + f"/{SITE_BITS}"


def _parse(text: str) -> Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    # A socket that listens for both families shows an address of IPv4 in the form of IPv6.
    return getattr(address, "ipv4_mapped", None) or address


def _without_port(entry: str) -> str:
    """An entry's address: some proxies add the port, and then brackets around IPv6."""
    if entry.startswith("["):
        return entry[1:].partition("]")[0]
    return entry.partition(":")[0] if entry.count(":") == 1 else entry
