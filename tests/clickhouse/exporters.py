"""Exporters that know what was asked of them: every series of an answer has the number of that answer as its value."""

import http.server
import threading
import time

# Series of one answer, besides those that the agent adds.
SERIES = 25
# Values of a label `collector` that is the exporter's own.
GENUINE = ("one", "other")


class Exporter:
    """One target. `answers` holds the moment at which each answer was complete: answer 1 first; `paths`, what was asked for."""

    def __init__(self, text=None):
        """`text(number)` is the text of an answer."""
        exporter = self
        self.answers, self.paths = [], []
        self._text = text or exposition
        self.closed = False
        self._lock = threading.Lock()

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            wbufsize = -1

            def do_GET(self):
                exporter._answer(self)

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request, client_address):
                # A killed agent leaves broken connections behind.
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def _answer(self, request):
        # One at a time: a number is given and its answer sent before the next.
        with self._lock:
            try:
                if self.closed:
                    send(request, 503, b"closed\n")
                    return
                # Counted before it is sent: what cannot be sent whole may arrive whole.
                self.answers.append(time.time())
                self.paths.append(request.path)
                send(request, 200, self._text(len(self.answers)))
                self.answers[-1] = time.time()
            except OSError:
                request.close_connection = True

    def close_shop(self):
        """From now on it answers 503, which is no answer: what was answered is then known for good."""
        with self._lock:
            self.closed = True

    def close(self):
        """Ends it."""
        self._server.shutdown()
        self._server.server_close()


def genuine(host):
    """What becomes of such labels in Vector's shape: the tags are the job and the node, and rows stay apart."""
    return [{"collector": "judged", "exported_collector": own, "exported_host": "genuine", "exported_ts": "genuine", "host": host} for own in GENUINE]


def send(request, status, body):
    """A whole answer."""
    request.send_response(status)
    request.send_header("Content-Type", "text/plain; version=0.0.4")
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    request.wfile.write(body)
    request.wfile.flush()


def exposition(number):
    """The text of answer `number`: a counter of answers, and gauges that say the same; a histogram and a summary that grow; labels that
    Vector's configuration overwrote."""
    lines = ["# TYPE suite_answers_total counter", f"suite_answers_total {number}", "# TYPE suite_answer gauge"]
    lines += [f'suite_answer{{series="{index:02}",text="größe \\" {index}"}} {number}' for index in range(SERIES - 1)]
    lines += ["# TYPE judged_seconds histogram", f'judged_seconds_bucket{{le="0.1"}} {number}', f'judged_seconds_bucket{{le="2.5"}} '
              f"{number + 2}", f'judged_seconds_bucket{{le="+Inf"}} {number + 3}', f"judged_seconds_sum {number / 4}",
              f"judged_seconds_count {number + 3}", "# TYPE judged_rpc summary", f'judged_rpc{{quantile="0.5"}} {number / 8}',
              'judged_rpc{quantile="0.99"} NaN', f"judged_rpc_sum {number}", f"judged_rpc_count {number}", "# TYPE judged_labels gauge"]
    lines += [f'judged_labels{{collector="{own}",host="genuine",ts="genuine"}} {number}' for own in GENUINE]
    return ("\n".join(lines) + "\n").encode()
