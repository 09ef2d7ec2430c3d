"""What stands between a writer and the S3 server, and fails on demand: connections cut, answers lost, bodies torn, silence."""

import http.client
import http.server
import socket
import struct
import threading
import time
import urllib.parse

# How a PUT goes wrong. `cut`: connections are reset at once. `silence`: nothing is answered until the mode changes.
# `lose`: the object arrives, its answer does not. `tear`: half of the body arrives.
MODES = ("pass", "cut", "silence", "lose", "tear")


class S3Proxy:
    """Passes requests on unchanged while `mode` is `pass`. `hit` counts the PUTs that each mode has met."""

    def __init__(self, url):
        proxy = self
        self.mode = "pass"
        self.hit = dict.fromkeys(MODES, 0)
        self.problems = []
        self._place = urllib.parse.urlsplit(url).netloc
        self._lock = threading.Lock()

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            wbufsize = -1

            def setup(self):
                super().setup()
                if proxy.mode == "cut":
                    reset(self)
                    raise ConnectionResetError

            def do_PUT(self):
                proxy._pass_on(self)

            do_GET = do_HEAD = do_PUT

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request, client_address):
                # Broken connections are its trade.
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def _pass_on(self, request):
        if request.headers.get("Transfer-Encoding"):
            self.problems.append("a chunked body, which this proxy does not know")
            reset(request)
        body = request.rfile.read(int(request.headers.get("Content-Length", "0")))
        mode = self.mode
        if request.command == "PUT":
            with self._lock:
                self.hit[mode] += 1
        if mode == "silence":
            while self.mode == "silence":
                time.sleep(0.02)
        if mode in ("cut", "silence"):
            reset(request)
        upstream = http.client.HTTPConnection(self._place, timeout=20)
        try:
            self._exchange(request, upstream, body, mode)
        except ConnectionResetError:
            # Ours, or the writer's own when it was killed.
            raise
        except OSError as error:
            self.problems.append(f"the S3 server: {error}")
            reset(request)
        finally:
            upstream.close()

    def _exchange(self, request, upstream, body, mode):
        # As they are, `Host` above all: the request is signed.
        upstream.putrequest(request.command, request.path, skip_host=True, skip_accept_encoding=True)
        for name, value in request.headers.items():
            if name.lower() not in ("connection", "expect"):
                upstream.putheader(name, value)
        upstream.endheaders()
        if mode == "tear" and body:
            upstream.send(body[: len(body) // 2])
            reset(request)
        upstream.send(body)
        answer = upstream.getresponse()
        content = answer.read()
        if mode == "lose":
            reset(request)
        request.send_response_only(answer.status)
        for name, value in answer.headers.items():
            if name.lower() not in ("connection", "content-length", "transfer-encoding"):
                request.send_header(name, value)
        length = answer.headers.get("Content-Length", "0") if request.command == "HEAD" else len(content)
        request.send_header("Content-Length", str(length))
        request.end_headers()
        request.wfile.write(content)
        request.wfile.flush()

    def close(self):
        """Ends it."""
        self.mode = "cut"
        self._server.shutdown()
        self._server.server_close()


def reset(request):
    """Ends the connection with a reset, as a network does, and the work on this request."""
    request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    # The socket is closed when nobody holds it any more. The server's complaint about that is not printed.
    for holder in (request.rfile, request.wfile, request.connection):
        holder.close()
    raise ConnectionResetError("on purpose")
