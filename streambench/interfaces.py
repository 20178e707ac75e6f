"""Addresses of this machine's network interfaces, for servers that other hosts are to reach."""

from __future__ import annotations

import fcntl
import ipaddress
import socket
import struct
from contextlib import suppress

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
            given = ipaddress.IPv4Address(name)
        except ValueError:
            pass
        else:
            _refuse_foreign(given)
            return str(given)
        try:
            return _of_interface(asking, name)
        except OSError as error:
            raise ConfigError(
                f'--bind-interface: {name!r} is no interface with an IPv4 address here '
                f'({error.strerror}); take {AUTO} or one of {_names()}.'
            ) from None


def _of_interface(asking: socket.socket, name: str) -> str:
    found = fcntl.ioctl(asking, SIOCGIFADDR, struct.pack('256s', name.encode()[:15]))
    return socket.inet_ntoa(found[20:24])


def _refuse_foreign(given: ipaddress.IPv4Address) -> None:
    """Raise ConfigError for an address that others can't reach this machine at."""
    why = 'is none that workers can connect to' if given.is_unspecified else ''
    with socket.socket() as probe:
        try:
            probe.bind((str(given), 0))
        except OSError as error:
            why = f'is no address of this machine ({error.strerror})'
    if why:
        raise ConfigError(f'--bind-interface: {given} {why}; take {AUTO} or one of {_names()}.')


def _names() -> str:
    """Return the interfaces that have an address, for errors."""
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        for _, name in socket.if_nameindex():
            with suppress(OSError):
                found.append(f'{name} ({_of_interface(asking, name)})')
    return ', '.join(found)
