"""Configuration of other programs, as pages show it.

The one rule: where the program is here, a conversation goes through it; what can be said of the text is said anyway.
"""

import re
from collections.abc import Callable, Mapping

WHERE = "127.0.0.1:8000"
"""Where the page's server is."""


def _nginx(text: str, where: str) -> None:
    assert text.count("{") == text.count("}"), f"{where}: expected each bracket closed"
    for line in text.splitlines():
        assert re.search(r"(^#.*|[;{}]|^)$", line), f"{where}: expected a directive to end with ';', got {line!r}"
    for words in (
        f"proxy_pass http://{WHERE};",
        "proxy_http_version 1.1;",
        "proxy_set_header Upgrade $http_upgrade;",
        "proxy_set_header Host $host;",
        "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;",
    ):
        assert words in text, f"{where}: expected {words}"


def _caddy(text: str, where: str) -> None:
    assert text.count("{") == text.count("}"), f"{where}: expected each bracket closed"
    assert f"reverse_proxy {WHERE}\n" in text, f"{where}: expected it to lead to {WHERE}"


CONFIGURATIONS: Mapping[str, Callable[[str, str], None]] = {"nginx.conf": _nginx, "Caddyfile": _caddy}
"""By file name: called with the text and the block's place. Raises `AssertionError`. `test_proxies.py` has the rest."""
