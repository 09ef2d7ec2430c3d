"""A proxy that stands before a real server and does to requests what a network and a server in trouble do to them.

It knows the moments of a request by name, and keeps a log of all of them:

    request   the head was received
    part      half of the body was received, and passed on
    body      all of the body was received, nothing passed on
    stored    the server has answered, nothing passed back
    answered  the answer was passed back
"""

import socket
import struct
import threading
import time
import zlib

MOMENTS = ("request", "part", "body", "stored", "answered")

ERROR = """<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>{code}</Code><Message>by the suite</Message><RequestId>0</RequestId></Error>"""


class Fault:
    """What is done to one request. `kind` says what, `value` how much of it."""

    def __init__(self, kind, value=None, status=None, body=""):
        self.kind = kind
        self.value = value
        self.status = status
        self.body = body

    def __repr__(self):
        return ":".join(str(part) for part in (self.kind, self.status, self.value) if part is not None)


def refuse(status, code):
    """The server is not asked; the answer is an error of S3."""
    return Fault("refuse", code, status, ERROR.format(code=code))


def answer(status, body):
    """The server is not asked; the answer is this."""
    return Fault("refuse", f"{len(body)} bytes", status, body)


def delay(seconds):
    """The request is passed on later."""
    return Fault("delay", seconds)


def slow(seconds):
    """The answer is passed back byte by byte, and takes this long."""
    return Fault("slow", seconds)


CUT_REQUEST = Fault("cut-request")  # reset after the head
CUT_PART = Fault("cut-part")  # reset after half of the body
TRUNCATE = Fault("truncate")  # half of the body is passed on, then both sides are reset
CUT_BODY = Fault("cut-body")  # reset after the whole body, which is never passed on
LATE = Fault("late", 0.7)  # reset after the whole body, which is passed on after that
LOSE_ANSWER = Fault("lose-answer")  # the server has stored it; reset before the answer
CUT_ANSWER = Fault("cut-answer")  # half of the answer's head, then reset
STORED_500 = Fault("stored-500", status=500, body=ERROR.format(code="InternalError"))  # stored, but the answer is 500
STALL = Fault("stall", 3)  # nothing happens for seconds, then reset


class Request:
    """One request as the log keeps it."""

    def __init__(self, method, path, size):
        self.began = time.time()
        self.ended = None
        self.method = method
        self.path = path.split("?")[0]
        self.size = size
        self.fault = None
        # CRC-32 of the body once it is here.
        self.crc = None
        # Whether it asks not to overwrite.
        self.conditional = False
        # What the server behind said, and what the agent was told; None where there was no such answer.
        self.stored = None
        self.told = None

    def is_put(self):
        """Whether it carries an object."""
        return self.method == "PUT"

    def __repr__(self):
        return f"{self.method} {self.path} {self.size} B {self.fault} stored={self.stored} told={self.told}"


class Cut(Exception):
    """The connection to the agent is to be reset."""


class Proxy:
    """Listens on a loopback port. `plan(request)` gives the fault of each request, or None; `at(moment, request)` is called at
    each moment."""

    def __init__(self, url):
        self.server = ("127.0.0.1", int(url.rsplit(":", 1)[1]))
        self.plan = lambda request: None
        self.at = lambda moment, request: None
        self.log = []
        self.in_flight = 0
        self.in_flight_max = 0
        self._lock = threading.Lock()
        self._streams = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = "http://127.0.0.1:%d" % self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def puts(self):
        """The PUTs so far."""
        return [request for request in list(self.log) if request.is_put()]

    def script(self, faults, of=Request.is_put):
        """The next requests that `of` is true of meet these faults, one each; None lets one pass."""
        waiting, lock = list(faults), threading.Lock()

        def plan(request):
            with lock:
                return waiting.pop(0) if waiting and of(request) else None

        self.plan = plan
        return lambda: len(waiting)

    def close(self):
        """Ends it."""
        self._listener.close()
        for stream in list(self._streams):
            stream.close()

    def _accept(self):
        while True:
            try:
                stream, _ = self._listener.accept()
            except OSError:
                return
            self._streams.add(stream)
            threading.Thread(target=self._serve, args=(stream,), daemon=True).start()

    def _serve(self, stream):
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        source = stream.makefile("rb")
        try:
            while self._one(stream, source):
                pass
        except Cut:
            # A reset, not an orderly end.
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except OSError:
            pass
        finally:
            source.close()
            self._streams.discard(stream)
            stream.close()

    def _one(self, stream, source):
        head = read_head(source)
        if head is None:
            return False
        method, path = head[0].split(" ")[:2]
        size = int(header(head, "content-length") or 0)
        request = Request(method, path, size)
        request.conditional = header(head, "if-none-match") == "*"
        with self._lock:
            self.log.append(request)
            self.in_flight += request.is_put()
            self.in_flight_max = max(self.in_flight_max, self.in_flight)
        try:
            request.fault = self.plan(request)
            self._pass_on(stream, source, head, request)
        finally:
            request.ended = time.time()
            with self._lock:
                self.in_flight -= request.is_put()
        return True

    def _pass_on(self, stream, source, head, request):
        fault = request.fault or Fault("none")
        self.at("request", request)
        if fault.kind == "cut-request":
            raise Cut
        if (header(head, "expect") or "").lower() == "100-continue":
            stream.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        first = source.read(request.size // 2)
        if fault.kind == "cut-part":
            raise Cut
        if fault.kind == "truncate":
            with socket.create_connection(self.server, 20) as server:
                server.sendall(text_of(head) + first)
                time.sleep(0.05)
            raise Cut
        self.at("part", request)
        body = first + source.read(request.size - len(first))
        if len(body) < request.size:
            raise Cut
        request.crc = zlib.crc32(body)
        self.at("body", request)
        if fault.kind == "cut-body":
            raise Cut
        if fault.kind == "stall":
            time.sleep(fault.value)
            raise Cut
        if fault.kind == "late":
            threading.Thread(target=self._later, args=(fault.value, head, body, request), daemon=True).start()
            raise Cut
        if fault.kind == "delay":
            time.sleep(fault.value)
        if fault.kind == "refuse":
            status, said = fault.status, made(request, fault)
        else:
            status, said = self._ask(head, body, request.method)
            request.stored = status
            self.at("stored", request)
        if fault.kind == "stored-500":
            status, said = fault.status, made(request, fault)
        if fault.kind == "lose-answer":
            raise Cut
        if fault.kind == "cut-answer":
            stream.sendall(said[: said.index(b"\r\n\r\n") // 2])
            raise Cut
        if fault.kind == "slow":
            for byte in said:
                stream.sendall(bytes([byte]))
                time.sleep(fault.value / len(said))
        else:
            stream.sendall(said)
        request.told = status
        self.at("answered", request)

    def _later(self, seconds, head, body, request):
        time.sleep(seconds)
        try:
            request.stored = self._ask(head, body, request.method)[0]
        except OSError:
            pass

    def _ask(self, head, body, method):
        """Asks the server behind; status and the whole answer."""
        with socket.create_connection(self.server, 20) as server:
            server.sendall(text_of(head) + body)
            source = server.makefile("rb")
            while True:
                answered = read_head(source)
                if answered is None:
                    raise ConnectionResetError("the server behind the proxy has gone")
                status = int(answered[0].split(" ")[1])
                if status != 100:
                    break
            if (header(answered, "transfer-encoding") or "").lower() == "chunked":
                content = read_chunks(source)
            elif method == "HEAD" or status in (204, 304):
                content = b""
            else:
                content = source.read(int(header(answered, "content-length") or 0))
            return status, text_of(answered) + content


def read_head(source):
    """The lines of a head, None at the end of the connection."""
    lines = []
    while True:
        line = source.readline(65536)
        if not line:
            return None
        line = line.decode("latin-1").rstrip("\r\n")
        if not line and lines:
            return lines
        if line:
            lines.append(line)


def read_chunks(source):
    """A chunked body, as it came."""
    body = b""
    while True:
        line = source.readline()
        body += line
        size = int(line.split(b";")[0], 16)
        body += source.read(size + 2)
        if size == 0:
            return body


def header(head, name):
    """The value of a header, None without one."""
    for line in head[1:]:
        found, _, value = line.partition(":")
        if found.strip().lower() == name:
            return value.strip()
    return None


def text_of(head):
    """A head as it is sent."""
    return ("\r\n".join(head) + "\r\n\r\n").encode("latin-1")


def made(request, fault):
    """An answer of the proxy's own."""
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())
    body = b"" if request.method == "HEAD" else fault.body.encode()
    kind = "application/xml" if fault.body.startswith("<") else "application/json"
    head = [f"HTTP/1.1 {fault.status} Suite", f"Date: {date}", f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
    return text_of(head) + body
