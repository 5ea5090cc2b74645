"""Which addresses webhooks may reach. Pure: no name is resolved here.

The check is made on the address that is then connected to, after resolution, on every connection, so neither
a name that resolves differently the second time (rebinding) nor another spelling of an address (decimal,
octal, hexadecimal) gets past it. Refused are all networks that are not public, by the registries of IANA
(RFC 6890 and what followed it), IPv6 addresses that carry an IPv4 address within them, and cloud metadata
services; ports below 1024 except 80 and 443; and `http://`, unless the operator allowed the host or network.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

from pipeline.errors import ConfigurationError, ForbiddenAddress, UsageError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

MAX_URL = 2048

_REFUSED_IPV4 = {
    IPv4Network(network): reason
    for network, reason in (
        ("0.0.0.0/8", "unspecified"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "shared by a provider's customers (CGNAT)"),
        ("127.0.0.0/8", "loopback"),
        ("168.63.129.16/32", "a cloud metadata service"),
        ("169.254.0.0/16", "link-local or a cloud metadata service"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "reserved or a cloud metadata service"),
        ("192.0.2.0/24", "for documentation"),
        ("192.88.99.0/24", "a 6to4 relay"),
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "for benchmarks"),
        ("198.51.100.0/24", "for documentation"),
        ("203.0.113.0/24", "for documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
    )
}
# Only 2000::/3 is public (RFC 4291, section 2.4): that leaves out loopback, unspecified, unique-local,
# link-local, multicast, and IPv4 mapped (::ffff:0:0/96), compatible (::/96) or translated (64:ff9b::/96).
_PUBLIC_IPV6 = IPv6Network("2000::/3")
_REFUSED_IPV6 = {
    IPv6Network(network): reason
    for network, reason in (
        ("2001::/23", "Teredo or reserved"),
        ("2001:db8::/32", "for documentation"),
        ("2002::/16", "IPv4 within IPv6 (6to4)"),
        ("3fff::/20", "for documentation"),
    )
}


@dataclass(frozen=True, slots=True)
class Allowed:
    """What the operator opened beside public addresses: whole networks, and hosts by name."""

    networks: tuple[Network, ...] = ()
    hosts: frozenset[str] = frozenset()
    http: bool = False

    @classmethod
    def parse(cls, entries: Iterable[str], *, http: bool = False) -> Allowed:
        """The settings `egress_allow` and `egress_http`. Raises ConfigurationError."""
        networks: list[Network] = []
        hosts: set[str] = set()
        for entry in entries:
            try:
                networks.append(ip_network(entry))
                continue
            except ValueError as error:
                if "/" in entry or not entry or set(entry) <= set("0123456789.:*"):
                    raise ConfigurationError(
                        f"egress_allow: {entry!r} is neither a network nor a host name ({error}); "
                        'write "10.1.0.0/16", "10.1.2.3" or "hooks.internal"'
                    ) from None
            hosts.add(_plain(entry))
        return cls(tuple(networks), frozenset(hosts), http)


@dataclass(frozen=True, slots=True)
class Target:
    """A webhook's URL, taken apart once: what is checked is what is called."""

    tls: bool
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """The Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"


def parse_url(url: str) -> Target:
    """Raises UsageError for a URL that no webhook can have."""
    if len(url) > MAX_URL:
        raise UsageError(f"the URL is {len(url)} characters long; at most {MAX_URL} are allowed")
    if not all("!" <= character <= "~" for character in url) or "\\" in url:
        raise UsageError(
            "the URL holds a space, a backslash, a control or non-ASCII character; encode it (%20, xn--...)"
        )
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise UsageError(f"the URL cannot be read: {error}") from None
    if parts.scheme not in ("http", "https"):
        raise UsageError("the URL must begin with https://")
    if "@" in parts.netloc:
        raise UsageError("the URL holds a user name or password; the signature already says who sends")
    if not parts.hostname:
        raise UsageError("the URL names no host")
    if port == 0:
        raise UsageError("the URL names port 0")
    tls = parts.scheme == "https"
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(tls, parts.hostname, port or (443 if tls else 80), path)


def check_name(target: Target, allowed: Allowed) -> None:
    """Refuse, before its name is looked up, what no address could make right. Raises ForbiddenAddress."""
    if not allowed.networks and _plain(target.host) not in allowed.hosts:
        _check_way(target.host, target.port, allowed, tls=target.tls)


def check_address(address: str, port: int, allowed: Allowed, *, host: str = "", tls: bool = True) -> None:
    """Refuse an address that `host` resolved to, just before it is connected to. Raises ForbiddenAddress."""
    try:
        parsed = ip_address(address)
    except ValueError:
        raise ForbiddenAddress(f"{address!r} is no address") from None
    if _plain(host) in allowed.hosts or any(
        parsed.version == network.version and parsed in network for network in allowed.networks
    ):
        return
    named = host if host and host != address else ""
    where = f"{named} ({parsed})" if named else str(parsed)
    reason = _refusal(parsed)
    if reason:
        raise ForbiddenAddress(f"{where} is {reason}; if webhooks should reach it, add it to egress_allow")
    _check_way(where, port, allowed, tls=tls)


def _check_way(where: str, port: int, allowed: Allowed, *, tls: bool) -> None:
    if port < 1024 and port not in (80, 443):
        raise ForbiddenAddress(f"port {port} of {where} is not for webhooks; if it should be, add it to egress_allow")
    if not tls and not allowed.http:
        raise ForbiddenAddress(f"{where} would be called without TLS; use https://, or add it to egress_allow")


def _refusal(address: Address) -> str | None:
    if isinstance(address, IPv4Address):
        return next((reason for network, reason in _REFUSED_IPV4.items() if address in network), None)
    if address not in _PUBLIC_IPV6:
        return "not public, or IPv4 within IPv6"
    return next((reason for network, reason in _REFUSED_IPV6.items() if address in network), None)


def _plain(host: str) -> str:
    return host.lower().rstrip(".")
