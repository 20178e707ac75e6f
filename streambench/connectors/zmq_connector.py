"""ProxyStore's ZeroMQConnector with its server on a leash, made when it is needed, and with deadlines.

It travels to workers: nothing above layer 0 is imported here.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import zmq
from proxystore.serialize import BytesLike, deserialize, serialize
from proxystore.utils.data import chunk_bytes
from proxystore_ex.connectors.dim.models import RPC, DIMKey, RPCResponse
from proxystore_ex.connectors.dim.zmq import MAX_CHUNK_LENGTH_DEFAULT
from proxystore_ex.connectors.dim.zmq import ZeroMQConnector as PlainZeroMQConnector

from streambench import leash

# From Linux's sockios.h: the address of an interface.
SIOCGIFADDR = 0x8915
PING_S = 2.0
PROBE_MS = 500
ANSWER_S = 30.0
GRACE_S = 5.0

SERVER = """\
import sys
from proxystore_ex.connectors.dim.zmq import start_server
start_server(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
"""


def address_of(interface: str) -> str:
    """Return the address of a network interface of this machine.

    Raises:
        OSError: If there is no such interface, or it has none.
    """
    name = struct.pack('256s', interface[:15].encode())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        return socket.inet_ntoa(fcntl.ioctl(asked.fileno(), SIOCGIFADDR, name)[20:24])


class ZeroMQConnector(PlainZeroMQConnector):
    """Connector to the ZeroMQ servers of all nodes; the one of this node is made by the first put.

    ProxyStore's own forks a server as soon as it is made, also on a worker that only reads, forks it
    under the threads of its maker, and waits for ever for a server that is gone.

    Args:
        port: Port of the servers.
        address: Address of the server that this node puts to.
        interface: Network interface that has it, if no address is given.
        chunk_length: Bytes of one part of a message.
        timeout: Seconds in which a server that was started must answer.
    """

    def __init__(
        self,
        port: int,
        address: str | None = None,
        interface: str | None = None,
        chunk_length: int | None = None,
        timeout: float = 15.0,
    ) -> None:
        # The original would start its server here: it isn't asked.
        self._address = address
        self._interface = interface
        self.port = port
        self.chunk_length = chunk_length or MAX_CHUNK_LENGTH_DEFAULT
        self.timeout = timeout
        if address is None and interface is not None:
            address = address_of(interface)
        self.address = address or socket.gethostbyname(socket.gethostname())
        self.url = f'tcp://{self.address}:{port}'
        self.server = None
        self._own: subprocess.Popen[bytes] | None = None
        self._served = False
        self.context = zmq.Context()
        self.socket = self._socket()

    def _socket(self) -> zmq.Socket[bytes]:
        made = self.context.socket(zmq.REQ)
        made.setsockopt(zmq.LINGER, 0)
        return made

    def serve(self) -> None:
        """Return when the server of this node answers; start it if there is none.

        Raises:
            ConnectionError: If it can't be started.
        """
        if self._served:
            return
        # What listens already answers at once, or is something else.
        patience_s = PING_S
        if not self._listens(self.address, self.port):
            self._start()
            patience_s = self.timeout
        deadline = time.monotonic() + patience_s
        while not self._answers():
            ended = self._own is not None and self._own.poll() is not None
            if time.monotonic() > deadline or (ended and not self._listens(self.address, self.port)):
                self._end()
                raise ConnectionError(
                    f'no ZeroMQ server of ProxyStore answers at {self.address}:{self.port}, and none '
                    'could be started there'
                )
        self._served = True

    def _start(self) -> None:
        words = [sys.executable, '-c', SERVER, self.address, str(self.port), str(self.chunk_length)]
        # Without our output: it may be a pipe whose reader waits for its end.
        self._own = subprocess.Popen(
            leash.command(*words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _end(self) -> None:
        """End the server that this connector has started."""
        own, self._own = self._own, None
        self._served = False
        if own is None:
            return
        own.terminate()
        try:
            own.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(own.pid, signal.SIGKILL)
            own.wait()

    @staticmethod
    def _listens(host: str, port: int) -> bool:
        try:
            socket.create_connection((host, port), timeout=PING_S).close()
        except OSError:
            return False
        return True

    def _answers(self) -> bool:
        """Return whether what listens on this node is such a server."""
        with self._socket() as ping:
            ping.connect(self.url)
            ping.send(b'ping')
            return bool(ping.poll(PROBE_MS)) and ping.recv() == b'pong'

    def _send_rpcs(self, rpcs: Sequence[RPC]) -> list[RPCResponse]:
        return [self._sent(rpc) for rpc in rpcs]

    def _sent(self, rpc: RPC) -> RPCResponse:
        host, port = rpc.key.peer_host, rpc.key.peer_port
        url = f'tcp://{host}:{port}'
        self.socket.connect(url)
        try:
            self.socket.send_multipart(list(chunk_bytes(serialize(rpc), self.chunk_length)))
            self._wait(host, port)
            response: RPCResponse = deserialize(b''.join(self.socket.recv_multipart()))
            self.socket.disconnect(url)
        except BaseException:
            # A socket that still waits for an answer can't ask again.
            self.socket.close()
            self.socket = self._socket()
            raise
        if response.exception is not None:
            raise response.exception
        return response

    def _wait(self, host: str, port: int) -> None:
        """Return when an answer is there; ZeroMQ itself would wait for ever for a lost server."""
        deadline = time.monotonic() + ANSWER_S
        while not self.socket.poll(PROBE_MS):
            if not self._listens(host, port):
                raise ConnectionError(f'lost connection: no ZeroMQ server listens at {host}:{port}')
            if time.monotonic() > deadline:
                raise ConnectionError(
                    f'lost connection: {host}:{port} has not answered for {ANSWER_S:g} s'
                )

    def put(self, obj: BytesLike) -> DIMKey:
        """Put an object on this node and return its key."""
        self.serve()
        return super().put(obj)

    def put_batch(self, objs: Sequence[BytesLike]) -> list[DIMKey]:
        """Put objects on this node and return their keys."""
        return [self.put(obj) for obj in objs]

    def config(self) -> dict[str, Any]:
        """Return what makes an equal connector."""
        return super().config()

    def close(self, kill_server: bool = True) -> None:
        """Close the connector, and end the server if this one has started it."""
        if kill_server:
            self._end()
        self.socket.close()
        self.context.term()
