"""A Cedana API that answers with real temporary keys of the S3 server."""

import http.server
import json
import secrets
import threading
import time
from datetime import datetime, timedelta, timezone

from s3_server import BUCKET, PREFIX, REGION

CLUSTER = "cluster-of-the-suite"


class CedanaApi:
    """`POST /v2/monitoring/credentials`; keys live `lifetime` seconds by their declared expiration."""

    def __init__(self, s3, lifetime, prefix=PREFIX):
        api = self
        self.prefix = prefix
        self.token = "suite-token-" + secrets.token_hex(16)
        self.lifetime = lifetime
        self.issued = []
        self.refused = []

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                status, answer = api._answer(self.path, self.headers, body, s3, lifetime)
                text = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def _answer(self, path, headers, body, s3, lifetime):
        def refuse(status, why):
            self.refused.append(f"{status} {why}")
            return status, {"error": why}

        if path != "/v2/monitoring/credentials":
            return refuse(404, f"no such path: {path}")
        if headers.get("Authorization") != f"Bearer {self.token}":
            return refuse(401, "bad token")
        try:
            asked = json.loads(body)
        except ValueError:
            return refuse(400, "the body is not JSON")
        if asked != {"cluster_id": CLUSTER}:
            return refuse(400, f"unexpected body: {asked}")
        keys = s3.issue(self.prefix)
        self.issued.append({**keys, "asked": time.time(), "expires": time.time() + lifetime})
        expires = datetime.now(timezone.utc) + timedelta(seconds=lifetime)
        return 200, {
            "access_key_id": keys["AccessKeyId"],
            "secret_access_key": keys["SecretAccessKey"],
            "session_token": keys["SessionToken"],
            "expiration": expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "bucket": BUCKET,
            "prefix": self.prefix,
            "region": REGION,
        }

    def secrets(self):
        """Every text that nobody but the API, the agent and the S3 server may see."""
        return [self.token] + [keys[name] for keys in self.issued for name in ("SecretAccessKey", "SessionToken")]

    def close(self):
        """Ends it."""
        self._server.shutdown()
        self._server.server_close()
