"""The world outside the cluster under its real names: api.cedana.ai and Amazon's S3, over TLS that the pod verifies.

So the agent runs exactly what is shipped: no address and no endpoint is set for the test.
"""

import asyncio
import ssl
import threading

from cedana_api import CLUSTER, CedanaApi
from cluster import Ca
from s3_server import BUCKET, REGION, S3Server

S3_DOMAIN = f"s3.{REGION}.amazonaws.com"
S3_ADDRESS = "10.90.0.2"
CEDANA_ADDRESS = "10.90.0.3"


class Front:
    """Takes TLS at address:443 and passes the bytes on to a loopback port."""

    def __init__(self, address, certificate, port):
        self._address, self._port = address, port
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(*map(str, certificate))
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)

    async def _start(self):
        self._server = await asyncio.start_server(self._connection, self._address, 443, ssl=self._context)

    async def _connection(self, reader, writer):
        try:
            behind, to_behind = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_pump(reader, to_behind), _pump(behind, writer))

    def close(self):
        """Ends it."""
        self._loop.call_soon_threadsafe(self._loop.stop)


async def _pump(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


class Outside:
    """S3 and the Cedana API."""

    def __init__(self, minio, work, lifetime):
        self.ca = Ca(work / "pki-outside", "authority-of-the-world")
        self.s3 = S3Server(minio, work, S3_DOMAIN)
        self.cedana = CedanaApi(self.s3, lifetime)
        names = [f"DNS:{S3_DOMAIN}", f"DNS:*.{S3_DOMAIN}"]
        minio_port = int(self.s3.url.rsplit(":", 1)[1])
        self._fronts = [
            Front(S3_ADDRESS, self.ca.issue("s3", names), minio_port),
            Front(CEDANA_ADDRESS, self.ca.issue("cedana", ["DNS:api.cedana.ai"]), int(self.cedana.url.rsplit(":", 1)[1])),
        ]

    @property
    def hosts(self):
        """What a name server would say."""
        return {S3_ADDRESS: [S3_DOMAIN, f"{BUCKET}.{S3_DOMAIN}"], CEDANA_ADDRESS: ["api.cedana.ai"]}

    def secret(self, namespace):
        """The secret cedana-credentials."""
        return {
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "cedana-credentials", "namespace": namespace},
            "stringData": {"authToken": self.cedana.token, "clusterId": CLUSTER},
        }

    def close(self):
        """Ends all of it."""
        for front in self._fronts:
            front.close()
        self.cedana.close()
        self.s3.stop()
