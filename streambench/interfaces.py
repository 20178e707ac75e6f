"""Addresses of this machine's network interfaces, for servers that other hosts are to reach."""

from __future__ import annotations

import fcntl
import ipaddress
import socket
import struct

from streambench.errors import ConfigError

AUTO = 'auto'
# ioctl that returns the address of an interface, netdevice(7).
SIOCGIFADDR = 0x8915
# Reserved for documentation (RFC 5737): choosing a route to it sends nothing.
NOWHERE = ('192.0.2.1', 9)


def address_of(name: str) -> str:
    """Return the IPv4 address of an interface.

    Args:
        name: Its name, an address of this machine, or `auto` for the interface of the default route.

    Raises:
        ConfigError: If there is none of that name, or it has no address.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        if name == AUTO:
            try:
                asking.connect(NOWHERE)
            except OSError:
                raise ConfigError(
                    f'--bind-interface {AUTO}: this machine has no default route; name one of '
                    f'{_names()}.'
                ) from None
            return str(asking.getsockname()[0])
        try:
            return str(ipaddress.IPv4Address(name))
        except ValueError:
            pass
        try:
            found = fcntl.ioctl(asking, SIOCGIFADDR, struct.pack('256s', name.encode()[:15]))
        except OSError as error:
            raise ConfigError(
                f'--bind-interface: {name!r} is no interface with an address here ({error.strerror}); '
                f'take {AUTO} or one of {_names()}.'
            ) from None
    return socket.inet_ntoa(found[20:24])


def _names() -> str:
    return ', '.join(name for _, name in socket.if_nameindex())
