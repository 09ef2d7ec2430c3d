"""Endpoints played by one asynchronous server in a thread: exporters, and kubelets that check who asks.

Each endpoint listens on an address of its own and notes when it answered. What it exposes carries the number of its
scrapes, so that the delivered objects tell by themselves which scrapes they hold.
"""

import asyncio
import ssl
import threading
import time

from api import Refused
from processes import Failure

KEEP_ALIVE = 75


class Endpoint:
    """One address and port. `body(n)` gives the exposition of the n-th scrape."""

    def __init__(self, job, address, port, node, body, kubelet=None, path="/metrics"):
        self.job, self.address, self.port, self.node = job, address, port, node
        self.body, self.kubelet, self.path = body, kubelet, path
        # When each scrape was answered completely, and who asked.
        self.answered, self.askers = [], {}
        # What was asked and not answered with 200.
        self.refused = []
        self.connections = 0
        self.closed = False

    @property
    def instance(self):
        """As it stands in a URL."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{host}:{self.port}"

    @property
    def instance_label(self):
        """As it stands in its samples: discovery names a node's kubelet by the node."""
        return self.node if self.kubelet else self.instance


class Kubelets:
    """Who may ask a kubelet: the bearer token is shown to the API server, as a kubelet does with webhook authorization."""

    def __init__(self, api):
        self._api = api
        self._known = {}

    def judge(self, token, node):
        """200, or the status that a kubelet would answer."""
        known = self._known.get((token, node))
        # The kubelet remembers too (2 minutes); this one shortly, so that a permission taken away is soon felt.
        if known and time.monotonic() - known[0] < 5:
            return known[1]
        status = self._ask(token, node)
        self._known[(token, node)] = (time.monotonic(), status)
        return status

    def _ask(self, token, node):
        if not token:
            return 401
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
        try:
            found = self._api.call("POST", "/apis/authentication.k8s.io/v1/tokenreviews", review)["status"]
            if not found.get("authenticated"):
                return 401
            user = found["user"]
            access = {
                "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
                "spec": {
                    "user": user["username"], "groups": user.get("groups", []), "uid": user.get("uid", ""),
                    "resourceAttributes": {
                        "verb": "get", "version": "v1", "resource": "nodes", "subresource": "metrics", "name": node,
                    },
                },
            }
            found = self._api.call("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", access)
            return 200 if found["status"]["allowed"] else 403
        except (Refused, OSError):
            return 500


class StandIns:
    """All endpoints. `close` ends them."""

    def __init__(self):
        self.endpoints = []
        self._loop = asyncio.new_event_loop()
        self._servers = {}
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def serve(self, endpoint, tls=None):
        """Begins to serve an endpoint; `tls` is a pair of files."""
        context = None
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*map(str, tls))

        async def start():
            return await asyncio.start_server(
                lambda reader, writer: self._connection(endpoint, reader, writer),
                endpoint.address, endpoint.port, ssl=context,
            )

        self._servers[endpoint] = self._call(start())
        self.endpoints.append(endpoint)
        return endpoint

    def end(self, endpoint):
        """Ends one endpoint; what it noted stays."""
        endpoint.closed = True

        async def close():
            self._servers.pop(endpoint).close()

        self._call(close())

    def by(self, job):
        """The endpoints of a job."""
        return [endpoint for endpoint in self.endpoints if endpoint.job == job]

    def close(self):
        """Ends the thread, and with it all."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _call(self, coroutine):
        try:
            return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(20)
        except OSError as error:
            raise Failure(f"a stand-in cannot listen: {error}") from error

    async def _connection(self, endpoint, reader, writer):
        endpoint.connections += 1
        try:
            while not endpoint.closed:
                head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), KEEP_ALIVE)
                status, body = await self._answer(endpoint, head.decode("latin-1"))
                reason = {200: "OK", 401: "Unauthorized", 403: "Forbidden"}.get(status, "Error")
                kind = "text/plain; version=0.0.4; charset=utf-8"
                writer.write(
                    f"HTTP/1.1 {status} {reason}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
                    + body
                )
                await writer.drain()
                if status == 200:
                    endpoint.answered.append(time.time())
                    endpoint.askers[endpoint.answered[-1]] = writer.get_extra_info("peername")[0]
                else:
                    endpoint.refused.append((time.time(), status))
        except (OSError, asyncio.IncompleteReadError, asyncio.TimeoutError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()

    async def _answer(self, endpoint, head):
        line, *fields = head.split("\r\n")
        method, target, *_ = line.split(" ")
        if method != "GET" or target.partition("?")[0] != endpoint.path:
            return 404, b"404 page not found\n"
        if endpoint.kubelet:
            headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
            token = headers.get("authorization", "").removeprefix("Bearer ")
            status = await self._loop.run_in_executor(None, endpoint.kubelet.judge, token, endpoint.node)
            if status != 200:
                return status, {401: b"Unauthorized", 403: b"Forbidden"}.get(status, b"no answer from the API server")
        number = len(endpoint.answered) + 1
        text = await self._loop.run_in_executor(None, endpoint.body, number)
        return 200, text.encode()
