"""Which addresses webhooks may reach."""

from __future__ import annotations

import socket

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.caller import look_up
from alerts.egress import Allowed, Target, check_address, parse_url
from pipeline.errors import ConfigurationError, ForbiddenAddress, UsageError

NOTHING = Allowed()


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.255.255.254",
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "169.254.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "100.100.100.200",
        "192.0.0.192",
        "168.63.129.16",
        "192.0.2.1",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "192.88.99.1",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1",
        "fe80::1%eth0",
        "fec0::1",
        "fc00::1",
        "fd00:ec2::254",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:8.8.8.8",
        "::ffff:0:127.0.0.1",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b:1::a00:1",
        "2002:7f00:1::",
        "2002:a9fe:a9fe::1",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
        "2001:10::1",
        "2001:db8::1",
        "3fff::1",
        "100::1",
        "5f00::1",
        "not-an-address",
        "127.1",
        "",
    ],
)
def test_addresses_that_are_not_public_are_refused(address: str) -> None:
    with pytest.raises(ForbiddenAddress):
        check_address(address, 443, NOTHING)


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "2a00:1450:4001::1"]
)
@pytest.mark.parametrize("port", [80, 443, 1024, 8443, 65535])
def test_public_addresses_on_web_ports_are_fine(address: str, port: int) -> None:
    check_address(address, port, NOTHING)


@pytest.mark.parametrize("port", [1, 22, 25, 81, 444, 1023])
def test_ports_of_other_services_are_refused_unless_allowed(port: int) -> None:
    with pytest.raises(ForbiddenAddress, match="port"):
        check_address("1.1.1.1", port, NOTHING)
    check_address("1.1.1.1", port, Allowed.parse(["1.1.1.0/24"]))


def test_http_is_refused_unless_allowed() -> None:
    with pytest.raises(ForbiddenAddress, match="TLS"):
        check_address("1.1.1.1", 80, NOTHING, tls=False)
    check_address("1.1.1.1", 80, Allowed.parse([], http=True), tls=False)
    check_address("1.1.1.1", 80, Allowed.parse(["1.1.1.1"]), tls=False)
    check_address("1.1.1.1", 80, Allowed.parse(["hooks.example"]), host="Hooks.Example.", tls=False)


def test_http_for_all_opens_no_private_address() -> None:
    with pytest.raises(ForbiddenAddress):
        check_address("127.0.0.1", 80, Allowed.parse([], http=True), tls=False)


def test_what_is_allowed_opens_that_and_no_more() -> None:
    allowed = Allowed.parse(["10.1.0.0/16", "fd00::/8", "hooks.internal"])
    check_address("10.1.2.3", 25, allowed, tls=False)
    check_address("fd12::1", 9, allowed)
    check_address("127.0.0.1", 9, allowed, host="hooks.internal")
    for address, host in (
        ("10.2.0.1", ""),
        ("::ffff:10.1.2.3", ""),
        ("127.0.0.1", "other.internal"),
        ("127.0.0.1", "x.hooks.internal"),
    ):
        with pytest.raises(ForbiddenAddress):
            check_address(address, 443, allowed, host=host)


@pytest.mark.parametrize("entry", ["10.0.0.1/8", "300.1.2.3", "10.0.0.*", "", "a/b", "1.2.3"])
def test_an_allowance_that_is_neither_network_nor_host_is_an_error(entry: str) -> None:
    with pytest.raises(ConfigurationError, match="egress_allow"):
        Allowed.parse([entry])


def test_the_message_says_what_to_do() -> None:
    with pytest.raises(ForbiddenAddress, match=r"hooks\.example \(10\.0\.0\.1\) is private.*egress_allow"):
        check_address("10.0.0.1", 443, NOTHING, host="hooks.example")


@pytest.mark.parametrize(
    "spelling", ["2130706433", "0x7f000001", "0x7f.1", "017700000001", "127.1", "0", "127.0.0.1", "[::1]", "localhost"]
)
def test_other_spellings_of_loopback_are_refused_too(spelling: str) -> None:
    with pytest.raises(ForbiddenAddress):
        look_up(parse_url(f"https://{spelling}/"), NOTHING)


def test_a_name_that_does_not_resolve_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert "does not resolve" in look_up(parse_url("https://hooks.example/"), NOTHING)


@pytest.mark.parametrize(
    ("url", "why"), [("http://hooks.example/", "without TLS"), ("https://hooks.example:25/", "25")]
)
def test_a_scheme_or_port_that_no_address_makes_right_is_refused_before_the_name_is_looked_up(
    monkeypatch: pytest.MonkeyPatch, url: str, why: str
) -> None:
    def unresolved(*_: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unresolved)
    with pytest.raises(ForbiddenAddress, match=why):
        look_up(parse_url(url), NOTHING)
    for allowed in (Allowed.parse(["hooks.example"]), Allowed.parse(["10.0.0.0/8"])):
        assert "does not resolve" in look_up(parse_url(url), allowed)


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://hooks.example", Target(True, "hooks.example", 443, "/")),
        ("https://HOOKS.example/a/b?c=d", Target(True, "hooks.example", 443, "/a/b?c=d")),
        ("http://hooks.example:8080/", Target(False, "hooks.example", 8080, "/")),
        ("https://[2606:4700::1111]:8443/x", Target(True, "2606:4700::1111", 8443, "/x")),
        ("https://hooks.example/a#part", Target(True, "hooks.example", 443, "/a")),
    ],
)
def test_a_url_is_taken_apart(url: str, target: Target) -> None:
    assert parse_url(url) == target


@pytest.mark.parametrize(
    ("target", "authority"),
    [
        (Target(True, "a.example", 443, "/"), "a.example"),
        (Target(True, "a.example", 80, "/"), "a.example:80"),
        (Target(False, "::1", 80, "/"), "[::1]"),
    ],
)
def test_the_host_header_names_another_port(target: Target, authority: str) -> None:
    assert target.authority == authority


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hooks.example",
        "ftp://hooks.example/",
        "file:///etc/passwd",
        "https://",
        "https:///path",
        "https://user@hooks.example/",
        "https://user:secret@hooks.example/",
        "https://1.1.1.1\\@127.0.0.1/",
        "https://hooks.example/a b",
        "https://hooks.example/\r\nHost: other",
        "https://hooks.example/\x00",
        "https://h\u00f6ks.example/",
        "https://hooks.example:0/",
        "https://hooks.example:65536/",
        "https://hooks.example:x/",
        "https://[::1/",
        "https://hooks.example/" + "a" * 2048,
    ],
)
def test_a_url_that_no_webhook_can_have_is_a_usage_error(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_url(url)
    assert "secret" not in str(caught.value)


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40), st.text(max_size=20))
def test_what_parses_can_be_sent(printable: str, anything: str) -> None:
    for url in (f"https://{printable}", f"http://a/{printable}", f"https://{anything}/x", anything):
        try:
            target = parse_url(url)
        except UsageError:
            continue
        h11.Request(method="POST", target=target.path, headers=[("host", target.authority)])
