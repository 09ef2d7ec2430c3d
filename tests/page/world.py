"""What the page's agent lives in: exporters that can be told how to behave, a bucket that takes everything, and the agent."""

import hashlib
import http.server
import json
import os
import pathlib
import re
import secrets
import threading

from cedana_api import CLUSTER, CedanaApi
from processes import Process, wait_for


class Server:
    """A threaded HTTP server on loopback; `answer(method, path, headers, body)` gives status, headers and body."""

    def __init__(self, answer):
        class Asked(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                status, fields, text = answer(self.command, self.path, self.headers, body)
                self.send_response(status)
                for name, value in fields.items():
                    self.send_header(name, value)
                if status != 304:
                    self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(text)

            do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _serve

            def log_message(self, *_):
                pass

        class Listening(http.server.ThreadingHTTPServer):
            def handle_error(self, request, client_address):
                """A client that hangs up, such as an agent that is killed, is no news."""

        self._server = Listening(("127.0.0.1", 0), Asked)
        self._server.daemon_threads = True
        self.address = f"127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self):
        """Ends it."""
        self._server.shutdown()
        self._server.server_close()


class Exporter(Server):
    """Serves `text`; with another `status` it fails, and says what `text` says."""

    def __init__(self, text):
        self.text, self.status = text, 200
        super().__init__(self._answer)

    def _answer(self, method, path, headers, body):
        return self.status, {"Content-Type": "text/plain; version=0.0.4"}, self.text.encode()


class Bucket(Server):
    """As much of an S3 as an agent needs that uploads objects to it: it takes each key once, and checks nothing."""

    def __init__(self):
        self.keys, self.down = {}, False
        super().__init__(self._answer)

    def issue(self, prefix=None):
        """Credentials, as the other suites' S3 gives them."""
        return {"AccessKeyId": "AK" + secrets.token_hex(8).upper(), "SecretAccessKey": secrets.token_hex(20),
                "SessionToken": secrets.token_hex(40)}

    def _answer(self, method, path, headers, body):
        key, _, query = path.partition("?")
        fields = {"Content-Type": "application/xml"}
        if self.down:
            return 503, fields, b"<Error><Code>SlowDown</Code><Message>not now</Message></Error>"
        if method == "PUT":
            if key in self.keys:
                return 412, fields, b"<Error><Code>PreconditionFailed</Code></Error>"
            self.keys[key] = len(body)
            return 200, {"ETag": f'"{hashlib.md5(body).hexdigest()}"'}, b""
        if "list-type" in query:
            return 200, fields, b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"
        if key in self.keys:
            return 200, {"ETag": '"x"'}, b""
        return 404, fields, b"<Error><Code>NoSuchKey</Code></Error>"


def exposition(samples, name="suite_value"):
    """A text of so many samples."""
    lines = [f'{name}{{number="{n}",zone="z{n % 7}"}} {n * 1.25}' for n in range(samples)]
    return f"# TYPE {name} gauge\n" + "\n".join(lines) + "\n"


class World:
    """A folder with a bucket, a Cedana API and agents."""

    def __init__(self, agent, work):
        self.agent_file, self.work = agent, work
        self._closing = []
        self.bucket = self.own(Bucket())
        self.cedana = self.own(CedanaApi(self.bucket, 3600))

    def own(self, thing):
        """Ends it with the world."""
        self._closing.append(thing.close if hasattr(thing, "close") else thing.stop)
        return thing

    def exporter(self, text):
        """A running exporter."""
        return self.own(Exporter(text))

    def agent(self, name, jobs, more=""):
        """A running agent with these jobs (YAML); gives its address."""
        folder = self.work / name
        folder.mkdir()
        (folder / "token").write_text(self.cedana.token, "utf-8")
        config = folder / "agent.yaml"
        config.write_text(
            f"{jobs}\nbatch: {{max_age: 2s}}\nspool: {{dir: spool, max_bytes: 64MiB}}\n"
            f"credentials: {{cedana: {{url: \"{self.cedana.url}\", auth_token_file: token, cluster_id: {CLUSTER}}}}}\n"
            f"sink: {{s3: {{endpoint_url: \"http://{self.bucket.address}\", force_path_style: true}}}}\n"
            f"server: {{listen: \"127.0.0.1:0\"}}\n{more}",
            "utf-8",
        )
        environment = {"PATH": os.environ["PATH"], "AWS_EC2_METADATA_DISABLED": "true", "HOME": "/nonexistent"}
        return self.own(Agent(name, [self.agent_file, "--config", config], folder, environment))

    def close(self):
        """Ends everything, the last first."""
        for close in reversed(self._closing):
            close()


class Agent(Process):
    """A running agent that has said where it listens."""

    def __init__(self, name, command, folder, environment):
        super().__init__(name, command, folder, environment)
        said = re.compile(r'"listen":"(127\.0\.0\.1:[1-9]\d*)"')

        def listening():
            found = said.search(self.output.read_text("utf-8", "replace"))
            return found and found[1]

        self.address = wait_for(f"{name} to say where it listens: {self.tail()}", listening, 20)
        self.url = f"http://{self.address}/"
        self.wait_ready(self.url + "healthz")

    def close(self):
        """Ends it at once; what it would upload in its last seconds is of no interest here."""
        if self.running():
            self.kill()


def file_sd(path, groups):
    """Writes a file of `file_sd_configs` in one go."""
    path = pathlib.Path(path)
    new = path.with_suffix(".new")
    new.write_text(json.dumps(groups), "utf-8")
    new.rename(path)
