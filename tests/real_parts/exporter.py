"""Debian's prometheus-node-exporter, and a proxy before it that keeps every body it passed on."""

import gzip
import http.client
import http.server
import threading
import time
import zlib

from processes import start_on_free_port

# What a node's own metrics do not show: special values, escapes, labels that clash with the target's, histograms,
# a summary, an empty label, labels with a column of their own, text beyond ASCII.
TEXTFILE = r"""# HELP suite_special Values that are no ordinary numbers.
# TYPE suite_special gauge
suite_special{kind="nan"} NaN
suite_special{kind="positive"} +Inf
suite_special{kind="negative"} -Inf
suite_special{kind="zero"} -0
suite_special{kind="tiny"} 5e-324
suite_special{kind="precise"} 0.1234567890123456789
suite_special{kind="large"} 1.7976931348623157e300
# HELP suite_escapes_total A backslash \\ and a line\nfeed.
# TYPE suite_escapes_total counter
suite_escapes_total{text="quote \" backslash \\ feed \n end",unicode="größe 温度 ✓"} 42
suite_escapes_total{text="} # { , = ",unicode=""} 43
# TYPE suite_clash gauge
suite_clash{job="inner",instance="elsewhere",node="other"} 1
# TYPE suite_pod gauge
suite_pod{namespace="default",pod="web-1",container="app",uid="0a-1b",type="x",value="y",zone="z"} 7
# TYPE suite_latency_seconds histogram
suite_latency_seconds_bucket{le="0.1"} 10
suite_latency_seconds_bucket{le="1"} 15
suite_latency_seconds_bucket{le="+Inf"} 17
suite_latency_seconds_sum 8.25
suite_latency_seconds_count 17
# TYPE suite_rpc_seconds summary
suite_rpc_seconds{quantile="0.5"} 0.05
suite_rpc_seconds{quantile="0.99"} NaN
suite_rpc_seconds_sum 17560.473
suite_rpc_seconds_count 2693
# TYPE suite_unknown untyped
suite_unknown 3
"""


def start_exporter(work, name="node-exporter", flags=()):
    """Starts node-exporter with our text file beside its usual collectors; gives the process and its port."""
    folder = work / "textfile"
    folder.mkdir(exist_ok=True)
    (folder / "suite.prom").write_text(TEXTFILE, "utf-8")

    def command(port):
        return [
            "prometheus-node-exporter",
            f"--web.listen-address=127.0.0.1:{port}",
            f"--collector.textfile.directory={folder}",
            "--log.level=warn",
            *flags,
        ]

    return start_on_free_port(name, command, "/", work, {"PATH": "/usr/bin:/bin:/usr/sbin"})


class Body:
    """One body that was passed on whole."""

    def __init__(self, started, finished, headers, encoding, raw):
        self.started = started
        self.finished = finished
        self.request_headers = headers
        plain = gzip.decompress(raw) if encoding == "gzip" else raw
        self.size = len(plain)
        self._packed = zlib.compress(plain, 1)

    def text(self):
        """The exposition."""
        return zlib.decompress(self._packed).decode("utf-8")


class Proxy:
    """Passes GETs on to the exporter, unchanged, and keeps what it answered. Stops with `close`."""

    def __init__(self, exporter_port):
        proxy = self
        self.bodies = []
        self.connections = 0
        self.busy = 0
        self.problems = []
        self._lock = threading.Lock()

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            wbufsize = -1

            def setup(self):
                super().setup()
                with proxy._lock:
                    proxy.connections += 1

            def do_GET(self):
                proxy._pass_on(self, exporter_port)

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def _pass_on(self, request, exporter_port):
        started = time.time()
        with self._lock:
            self.busy += 1
        try:
            upstream = http.client.HTTPConnection("127.0.0.1", exporter_port, timeout=10)
            hop = {"connection", "host", "keep-alive", "transfer-encoding"}
            headers = {name: value for name, value in request.headers.items() if name.lower() not in hop}
            upstream.request("GET", request.path, headers=headers)
            answer = upstream.getresponse()
            raw = answer.read()
            upstream.close()
            request.send_response(answer.status)
            for name in ("Content-Type", "Content-Encoding"):
                if answer.headers.get(name):
                    request.send_header(name, answer.headers[name])
            request.send_header("Content-Length", str(len(raw)))
            request.end_headers()
            request.wfile.write(raw)
            request.wfile.flush()
            if answer.status == 200:
                body = Body(started, time.time(), headers, answer.headers.get("Content-Encoding"), raw)
                with self._lock:
                    self.bodies.append(body)
            else:
                self.problems.append(f"the exporter answered {answer.status}")
        except OSError as error:
            self.problems.append(str(error))
            request.close_connection = True
        finally:
            with self._lock:
                self.busy -= 1

    def quiet_for(self, seconds):
        """Whether nothing was asked for that long: the moment to stop the agent with no scrape under way."""
        with self._lock:
            return self.busy == 0 and bool(self.bodies) and time.time() - self.bodies[-1].finished >= seconds

    def take(self):
        """The bodies so far; the list begins anew."""
        with self._lock:
            bodies, self.bodies = self.bodies, []
            return bodies

    def close(self):
        """Ends it."""
        self._server.shutdown()
        self._server.server_close()
