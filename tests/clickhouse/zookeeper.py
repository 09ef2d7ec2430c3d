"""ZooKeeper, in which S3Queue keeps its pointers: Debian's jars, one server, nothing but loopback."""

import socket

from processes import Failure, Process, free_port, wait_for

# What a single server needs of the package libzookeeper-java and those it depends on.
JARS = ("zookeeper", "zookeeper-jute", "slf4j-api", "slf4j-simple", "metrics-core", "snappy-java")

CONFIG = """tickTime=1000
dataDir={data}
clientPort={port}
clientPortAddress=127.0.0.1
admin.enableServer=false
forceSync=no
"""


class ZooKeeper:
    """A running server. `port` is where clients connect."""

    def __init__(self, jars, work, attempts=3):
        missing = [name for name in JARS if not (jars / f"{name}.jar").exists()]
        if missing:
            raise Failure(f"{', '.join(missing)} not in {jars}: install libzookeeper-java")
        for attempt in range(attempts):
            try:
                self._start(jars, work)
                return
            except Failure:
                self.process.stop()
                if attempt + 1 == attempts:
                    raise

    def _start(self, jars, work):
        self.port = free_port()
        config = work / "zookeeper.cfg"
        config.write_text(CONFIG.format(data=work / "zookeeper", port=self.port), "utf-8")
        paths = ":".join(str(jars / f"{name}.jar") for name in JARS)
        server = "org.apache.zookeeper.server.ZooKeeperServerMain"
        command = ["java", "-Xmx128m", "-XX:+UseSerialGC", "-cp", paths, server, config]
        self.process = Process("zookeeper", command, work, {"PATH": "/usr/bin:/bin", "HOME": str(work)})
        wait_for("ZooKeeper to answer", self._answers, 30)

    def _answers(self):
        if not self.process.running():
            raise Failure(f"ZooKeeper ended by itself: {self.process.tail()}")
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as connection:
                connection.settimeout(2)
                connection.sendall(b"srvr")
                return b"Mode: standalone" in connection.recv(4096)
        except OSError:
            return False

    def close(self):
        """Ends it."""
        self.process.stop()
