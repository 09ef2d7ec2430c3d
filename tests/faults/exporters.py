"""Exporters that number their answers and keep a note of each, so that every answered scrape is known again in the objects."""

import collections
import selectors
import socket
import threading
import time

import numpy

# What every answer holds: its number, and series whose values follow from it.
NUMBER, VALUE, WIDE = "faults_scrape_number", "faults_value", "faults_wide"
# The value of series i at scrape n is i * STEP + n.
STEP = 1_000_000_000
# How many bodies a wide exporter serves in turn: values without order, of which no compression makes little.
WIDE_BODIES = 4

Answer = collections.namedtuple("Answer", "number done series wide")


def wide_values(instance, number, size):
    """The values of a wide exporter's series at scrape `number`."""
    port = int(instance.rsplit(":", 1)[1])
    return numpy.random.default_rng([port, number % WIDE_BODIES]).integers(1, 1 << 52, size=size)


class Target:
    """One target: its address, its answers, and the shape of what it exposes."""

    def __init__(self, listener, series, wide):
        self.listener = listener
        self.instance = "127.0.0.1:%d" % listener.getsockname()[1]
        self.series = series
        self.wide = wide
        self.number = 0
        self.answers = []
        lines = [f'{VALUE}{{i="{i}"}} {i}@@@@@@@@@' if i else f'{VALUE}{{i="0"}} @@@@@@@@@' for i in range(series)]
        lines = [f"# TYPE {NUMBER} counter", f"{NUMBER} @@@@@@@@@", f"# TYPE {VALUE} gauge", *lines, ""]
        self._text = "\n".join(lines).encode()
        self._wide = [self._wide_text(number) for number in range(WIDE_BODIES)] if wide else [b""]

    def body(self, number):
        """The exposition of one scrape."""
        return self._text.replace(b"@@@@@@@@@", b"%09d" % number) + self._wide[number % len(self._wide)]

    def _wide_text(self, number):
        values = wide_values(self.instance, number, self.wide).tolist()
        lines = [f'{WIDE}{{i="{i}"}} {value}' for i, value in enumerate(values)]
        return "\n".join([f"# TYPE {WIDE} gauge", *lines, ""]).encode()


class Connection:
    """One connection of the agent: what is still to be sent, and the answer that this is."""

    def __init__(self, stream, target):
        self.stream = stream
        self.target = target
        self.asked = b""
        self.unsent = memoryview(b"")
        self.answer = None


class Exporters:
    """Targets on loopback ports of their own, served by one thread. `closed` refuses scrapes: nothing more is answered."""

    def __init__(self, targets, series, wide=0):
        self.closed = False
        self._selector = selectors.DefaultSelector()
        self.targets = []
        for _ in range(targets):
            listener = socket.create_server(("127.0.0.1", 0), backlog=64)
            listener.setblocking(False)
            target = Target(listener, series, wide)
            self.targets.append(target)
            self._selector.register(listener, selectors.EVENT_READ, target)
        self._ending = False
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def addresses(self):
        """host:port of every target."""
        return [target.instance for target in self.targets]

    def answered(self):
        """How many scrapes were answered so far."""
        return sum(len(target.answers) for target in self.targets)

    def close(self):
        """Ends it."""
        if self._ending:
            return
        self._ending = True
        self._thread.join(5)
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()
        self._selector.close()

    def _serve(self):
        while not self._ending:
            for key, ready in self._selector.select(0.1):
                if isinstance(key.data, Target):
                    self._accept(key.data)
                else:
                    self._continue(key.data, ready)

    def _accept(self, target):
        try:
            stream, _ = target.listener.accept()
        except OSError:
            return
        stream.setblocking(False)
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._selector.register(stream, selectors.EVENT_READ, Connection(stream, target))

    def _continue(self, connection, ready):
        try:
            if ready & selectors.EVENT_READ:
                data = connection.stream.recv(65536)
                if not data:
                    raise ConnectionResetError
                connection.asked += data
                if b"\r\n\r\n" in connection.asked:
                    connection.asked = b""
                    self._begin(connection)
            self._send(connection)
        except BlockingIOError:
            pass
        except OSError:
            self._selector.unregister(connection.stream)
            connection.stream.close()

    def _begin(self, connection):
        target = connection.target
        if self.closed:
            connection.unsent = memoryview(b"HTTP/1.1 503 Closed\r\nContent-Length: 0\r\n\r\n")
            return
        target.number += 1
        body = target.body(target.number)
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: %d\r\n\r\n" % len(body)
        connection.answer = target.number
        connection.unsent = memoryview(head + body)

    def _send(self, connection):
        while connection.unsent:
            try:
                sent = connection.stream.send(connection.unsent)
            except BlockingIOError:
                self._selector.modify(
                    connection.stream, selectors.EVENT_READ | selectors.EVENT_WRITE, connection
                )
                return
            connection.unsent = connection.unsent[sent:]
        if connection.answer is not None:
            target = connection.target
            target.answers.append(Answer(connection.answer, time.time(), target.series, target.wide))
            connection.answer = None
        self._selector.modify(connection.stream, selectors.EVENT_READ, connection)
