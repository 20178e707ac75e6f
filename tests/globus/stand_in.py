"""A stand-in of Globus Compute's hosted web service and of the token route of Globus Auth.

Only these two are stood in for, on loopback, as far as the SDK and the endpoint ask them (4.19); the
SDK, the broker, the endpoint and its workers are the real ones. Written from the source of the SDK and
of the endpoint; it has never been compared with the hosted service. Run as a program:
`python -m tests.globus.stand_in --amqp URL --state FILE`.
"""

from __future__ import annotations

import argparse
import base64
import json
import re
import threading
import time
import urllib.parse
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pika
from globus_compute_common import messagepack
from globus_compute_common.messagepack.message_types import EPStatusReport, Result, Task

# Fixed in the SDK for the environment `local`.
PORT = 5000
CLIENT_ID = '99999999-0000-4000-8000-000000000001'
CLIENT_SECRET = 'of-the-stand-in'
MOST_REQUEST_BYTES = 10 << 20

COMPUTE_SCOPE = 'https://auth.globus.org/scopes/facd7ccc-c5f4-42aa-916b-a0e270e2c2a9/all'
IDENTITY = '11111111-2222-4333-8444-555555555555'
USER = 'streambench@localhost'
RESULTS = 'stand-in.results'
HEARTBEATS = 'stand-in.heartbeats'
GROUP_PREFIX = 'group.'
ID = '([0-9a-f-]{36})'
# What makes the SDK begin a login in the middle of a request.
LOGIN: Answer = {
    'code': 'ConsentRequired',
    'authorization_parameters': {'required_scopes': [COMPUTE_SCOPE]},
}

Answer = dict[str, Any]


class RefusedError(Exception):
    """An answer other than 200."""

    def __init__(self, status: int, name: str, reason: str, more: Answer | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.answer: Answer = {
            'status': 'Failed',
            'http_status_code': status,
            'code_name': name,
            'reason': reason,
            'message': reason,
            'error_args': [],
            'code': 0,
        } | (more or {})


class StandIn:
    """What the hosted service knows and does.

    Args:
        amqp: URL of the broker.
        state: File that keeps functions and endpoints over an end.
    """

    def __init__(self, amqp: str, state: Path) -> None:
        self._amqp = amqp
        self._state = state
        self._lock = threading.RLock()
        known = json.loads(state.read_text()) if state.exists() else {}
        self._functions: dict[str, str] = known.get('functions', {})
        # Whether each is a core endpoint, which starts others.
        self._endpoints: dict[str, bool] = known.get('endpoints', {})
        self._heard: dict[str, tuple[float, dict[str, Any]]] = {}
        self._task_groups: dict[str, str] = {}
        self._tokens: set[str] = set()
        self._refusing: list[int] = []
        self.requests: list[tuple[str, str, int]] = []
        self._sending = pika.BlockingConnection(self._parameters()).channel()
        self._sending.exchange_declare('stand-in', 'direct')
        for queue in (RESULTS, HEARTBEATS):
            self._sending.queue_declare(queue)
            self._sending.queue_bind(queue, 'stand-in', queue)
        threading.Thread(target=self._receive, daemon=True).start()

    def _parameters(self) -> Any:
        parameters = pika.URLParameters(self._amqp)
        # Nothing here would answer a heartbeat in time.
        parameters.heartbeat = 0
        return parameters

    def _keep(self) -> None:
        text = json.dumps({'functions': self._functions, 'endpoints': self._endpoints})
        self._state.write_text(text)

    def _receive(self) -> None:
        channel = pika.BlockingConnection(self._parameters()).channel()
        channel.basic_consume(RESULTS, self._result, auto_ack=True)
        channel.basic_consume(HEARTBEATS, self._heartbeat, auto_ack=True)
        channel.start_consuming()

    def _result(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        result = messagepack.unpack(body)
        assert isinstance(result, Result)
        with self._lock:
            group = self._task_groups.pop(str(result.task_id), None)
        if group is not None:
            stamped = pika.BasicProperties(timestamp=int(time.time()))
            channel.basic_publish('', GROUP_PREFIX + group, body, stamped)

    def _heartbeat(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        report = messagepack.unpack(body)
        if isinstance(report, EPStatusReport):
            self._heard[str(report.endpoint_id)] = (time.monotonic(), dict(report.global_state))

    def _publishing(self, queue: str) -> Answer:
        return {
            'connection_url': self._amqp,
            'exchange': 'stand-in',
            'queue': queue,
            'queue_publish_kwargs': {
                'exchange': 'stand-in',
                'routing_key': queue,
                'mandatory': True,
                'properties': {'delivery_mode': 1, 'content_type': 'application/octet-stream'},
            },
        }

    def _credentials(self, endpoint: str) -> Answer:
        """Return what an endpoint that runs tasks is given by its core endpoint."""
        self._sending.queue_declare(f'{endpoint}.tasks')
        return {
            'endpoint_id': endpoint,
            'task_queue_info': {'connection_url': self._amqp, 'queue': f'{endpoint}.tasks'},
            'result_queue_info': self._publishing(RESULTS),
            'heartbeat_queue_info': self._publishing(HEARTBEATS),
        }

    def direct_endpoint(self) -> Answer:
        """Make an endpoint without a core endpoint, which the hosted service has no route for."""
        endpoint = str(uuid.uuid4())
        self._endpoints[endpoint] = False
        self._keep()
        return self._credentials(endpoint)

    def core_endpoint(self, endpoint: str | None) -> Answer:
        """Register a core endpoint."""
        endpoint = endpoint or str(uuid.uuid4())
        self._endpoints[endpoint] = True
        self._keep()
        queue = f'{endpoint}.commands'
        self._sending.queue_declare(queue)
        answer = self._credentials(endpoint)
        answer['command_queue_info'] = {'connection_url': self._amqp, 'queue': queue}
        return answer

    def _started(self, core: str, asked: Answer) -> str:
        """Let a core endpoint start the endpoint of a configuration; return its id."""
        config = asked.get('user_endpoint_config') or {}
        endpoint = str(uuid.uuid5(uuid.UUID(core), json.dumps(config, sort_keys=True)))
        command = {
            'command': 'cmd_start_endpoint',
            'args': [],
            'kwargs': {
                'name': f'uep.{core}.{endpoint}',
                'amqp_creds': self._credentials(endpoint),
                'user_opts': config,
                'user_runtime': asked.get('user_runtime') or {},
            },
            'globus_effective_identity': IDENTITY,
            'globus_username': USER,
            'globus_identity_set': [{'sub': IDENTITY, 'username': USER}],
        }
        properties = pika.BasicProperties(content_type='application/json', timestamp=int(time.time()))
        self._sending.basic_publish('', f'{core}.commands', json.dumps(command), properties)
        return endpoint

    def function(self, asked: Answer) -> Answer:
        """Register a function."""
        function = str(uuid.uuid4())
        self._functions[function] = asked['function_code']
        self._keep()
        return {'function_uuid': function}

    def submit(self, endpoint: str, asked: Answer) -> Answer:
        """Take tasks."""
        if endpoint not in self._endpoints:
            raise RefusedError(404, 'ENDPOINT_NOT_FOUND', f'Endpoint {endpoint} is not known')
        for function in asked['tasks']:
            if function not in self._functions:
                raise RefusedError(404, 'FUNCTION_NOT_FOUND', f'Function {function} is not known')
        runs = self._started(endpoint, asked) if self._endpoints[endpoint] else endpoint
        group = asked.get('task_group_id') or str(uuid.uuid4())
        self._sending.queue_declare(GROUP_PREFIX + group)
        tasks: dict[str, list[str]] = {}
        for function, packed in asked['tasks'].items():
            for arguments in packed:
                task = str(uuid.uuid4())
                self._task_groups[task] = group
                body = messagepack.pack(
                    Task(task_id=task, task_buffer=self._functions[function] + arguments)
                )
                headers = {
                    'function_uuid': function,
                    'task_uuid': task,
                    'resource_specification': json.dumps(asked.get('resource_specification')),
                    'result_serializers': asked.get('result_serializers') or [],
                }
                self._sending.basic_publish(
                    '', f'{runs}.tasks', body, pika.BasicProperties(headers=headers)
                )
                tasks.setdefault(function, []).append(task)
        return {
            'tasks': tasks,
            'task_group_id': group,
            'request_id': str(uuid.uuid4()),
            'endpoint_id': endpoint,
        }

    def status(self, endpoint: str) -> Answer:
        """Say whether an endpoint was heard of lately."""
        heard_s, state = self._heard.get(endpoint, (0.0, {}))
        period_s = float(state.get('heartbeat_period', 30))
        online = bool(state.get('active')) and time.monotonic() - heard_s < 2.5 * period_s
        return {'status': 'online' if online else 'offline', 'details': state}

    def token(self, form: bytes, authorization: str) -> Answer:
        """Grant client credentials, as Globus Auth: a token for each resource server."""
        basic = base64.b64decode(authorization.removeprefix('Basic ')).decode()
        if basic != f'{CLIENT_ID}:{CLIENT_SECRET}':
            raise RefusedError(401, 'invalid_client', 'the client or its secret is not known')
        scopes: dict[str, list[str]] = {}
        for scope in urllib.parse.parse_qs(form.decode())['scope'][0].split():
            server = 'funcx_service' if scope == COMPUTE_SCOPE else 'auth.globus.org'
            scopes.setdefault(server, []).append(scope)
        grants = [
            {
                'access_token': uuid.uuid4().hex,
                'scope': ' '.join(sorted(names)),
                'resource_server': server,
                'expires_in': 172_800,
                'token_type': 'Bearer',
            }
            for server, names in scopes.items()
        ]
        self._tokens.update(str(grant['access_token']) for grant in grants)
        return {**grants[0], 'other_tokens': grants[1:]}

    def answer(self, verb: str, path: str, body: bytes, authorization: str) -> Any:
        """Answer a request.

        Raises:
            RefusedError: If it is to be answered by an error.
        """
        with self._lock:
            self.requests.append((verb, path, len(body)))
            if path.startswith('/stand-in/'):
                return self._control(path, body)
            if (verb, path) == ('POST', '/v2/oauth2/token'):
                return self.token(body, authorization)
            if (verb, path) == ('GET', '/v2/version'):
                return {'api': '1.0.0', 'min_sdk_version': '1.0.0', 'min_ep_version': '1.0.0'}
            # A token is good for the life of its holder, which may be longer than this one's.
            if not authorization.startswith('Bearer '):
                raise RefusedError(401, 'UNAUTHORIZED', 'Credentials are required')
            if len(body) > MOST_REQUEST_BYTES:
                raise RefusedError(413, 'PAYLOAD_TOO_LARGE', f'{len(body)} bytes are too many')
            if found := re.fullmatch(f'/v2/endpoints/{ID}/status', path):
                return self.status(found[1])
            if path == '/v2/oauth2/userinfo':
                return {
                    'sub': IDENTITY,
                    'preferred_username': USER,
                    'name': USER,
                    'email': USER,
                    'identity_set': [{'sub': IDENTITY, 'username': USER}],
                }
            if path == '/v2/get_amqp_result_connection_url':
                return {'queue_prefix': GROUP_PREFIX, 'connection_url': self._amqp}
            asked = json.loads(body or b'{}')
            if (verb, path) == ('POST', '/v3/functions'):
                return self.function(asked)
            if found := re.fullmatch(f'/v3/endpoints/{ID}/submit', path):
                if self._refusing:
                    status = self._refusing.pop()
                    reason = f'refused with {status} as the test asked'
                    raise RefusedError(status, 'REFUSED', reason, LOGIN if status == 403 else None)
                return self.submit(found[1], asked)
            if (verb, path) == ('POST', '/v3/endpoints'):
                return self.core_endpoint(None)
            if found := re.fullmatch(f'/v3/endpoints/{ID}', path):
                return self.core_endpoint(found[1])
            raise RefusedError(404, 'NOT_FOUND', f'the stand-in has no route {verb} {path}')

    def _control(self, path: str, body: bytes) -> Any:
        """Do what a test asks of the stand-in itself."""
        if path == '/stand-in/endpoints':
            return self.direct_endpoint()
        if path == '/stand-in/waiting':
            return self._task_groups
        if path == '/stand-in/requests':
            return self.requests
        if path == '/stand-in/refuse':
            self._refusing = json.loads(body)
            return self._refusing
        raise RefusedError(404, 'NOT_FOUND', path)


class Handler(BaseHTTPRequestHandler):
    """HTTP around the stand-in."""

    protocol_version = 'HTTP/1.1'
    stand_in: ClassVar[StandIn]

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Keep silent."""

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get('Content-Length') or 0))
        path = self.path.partition('?')[0].rstrip('/')
        try:
            status = 200
            answer = self.stand_in.answer(
                self.command, path, body, self.headers.get('Authorization') or ''
            )
        except RefusedError as error:
            status, answer = error.status, error.answer
        text = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header('Content-Type', 'application/json')
        self.send_header('Content-Length', str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = do_PUT = _handle  # noqa: N815


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument('--amqp', required=True)
    parser.add_argument('--state', required=True, type=Path)
    given = parser.parse_args()
    Handler.stand_in = StandIn(given.amqp, given.state)
    server = ThreadingHTTPServer(('127.0.0.1', PORT), Handler)
    server.daemon_threads = True
    server.serve_forever()


if __name__ == '__main__':
    main()
