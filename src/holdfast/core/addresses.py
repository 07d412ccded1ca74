"""Which network addresses belong to the open Internet."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052


def is_public(address: str) -> bool:
    """Whether an address is one of the open Internet, and not of the own machine or network.

    Private, loopback, link-local, multicast, reserved and unspecified ones are not, and no IPv6
    address that only wraps an IPv4 one is: that could lead anywhere. What is no address is not.
    """
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    closed = parsed.is_multicast or parsed.is_reserved or parsed.is_link_local
    return parsed.is_global and not closed and not _wraps(parsed)


def _wraps(address: IPv4Address | IPv6Address) -> bool:
    """Whether packets to an IPv6 address end up at an IPv4 address that it holds."""
    if isinstance(address, IPv4Address):
        return False
    held = address.ipv4_mapped or address.sixtofour or address.teredo
    return held is not None or address in _NAT64 or address.is_site_local
