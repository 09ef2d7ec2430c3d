"""The ClickHouse engine with its background threads, in a process of its own that lives as long as the suite.

Run as a program it is that process: it loads the engine's library by itself, because the Python package around it opens and
closes a connection on import, and closing one shuts all queues down. It takes one JSON text per line, `{"sql": ..}`, and
answers with one per line.
"""

import ctypes
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import sysconfig
import threading

from processes import Failure

# How long one query may take, seconds; after that the engine is ended and the query has failed.
PATIENCE = 60

CONFIG = """<clickhouse>
  <logger><level>none</level></logger>
  <zookeeper>
    <node><host>127.0.0.1</host><port>{zookeeper}</port></node>
    <session_timeout_ms>10000</session_timeout_ms>
  </zookeeper>
  <s3queue_log>
    <database>system</database>
    <table>s3queue_log</table>
    <flush_interval_milliseconds>500</flush_interval_milliseconds>
  </s3queue_log>
  <!-- Nothing listens there: whoever has this port is the engine itself, and so a cluster of one shard. -->
  <tcp_port>9000</tcp_port>
  <remote_servers><alone><shard><replica><host>127.0.0.1</host><port>9000</port></replica></shard></alone></remote_servers>
  <default_replica_path>/tables/{{database}}/{{table}}/{{shard}}</default_replica_path>
  <macros><shard>01</shard><replica>one</replica></macros>
</clickhouse>
"""


class Engine:
    """The engine's process, seen from the suite."""

    def __init__(self, zookeeper, work):
        config = work / "clickhouse.xml"
        config.write_text(CONFIG.format(zookeeper=zookeeper.port), "utf-8")
        self._log = (work / "clickhouse.log").open("wb")
        self._lock = threading.Lock()
        path = [str(pathlib.Path(__file__).resolve().parent.parent / "real_parts")]
        self._popen = subprocess.Popen(
            [sys.executable, __file__, work / "clickhouse", config], cwd=work, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log,
            env={"PATH": "/usr/bin:/bin", "HOME": str(work), "PYTHONPATH": os.pathsep.join(path)},
        )
        self.version = self.query("SELECT version() AS version")[0]["version"]

    def query(self, sql):
        """The rows of a query, as dictionaries; a Failure with the engine's own words when it refuses."""
        with self._lock:
            watchdog = threading.Timer(PATIENCE, self._popen.kill)
            watchdog.start()
            try:
                self._popen.stdin.write(json.dumps({"sql": sql}) + "\n")
                self._popen.stdin.flush()
                line = self._popen.stdout.readline()
            except BrokenPipeError:
                line = ""
            finally:
                watchdog.cancel()
        if not line:
            raise Failure(f"the ClickHouse engine ended with {self._popen.wait(10)}, see clickhouse.log; in: {sql}")
        answer = json.loads(line)
        if "error" in answer:
            raise Failure(f"ClickHouse: {answer['error']}\nin: {sql}")
        return [json.loads(row) for row in answer["rows"].splitlines() if row]

    def close(self):
        """Ends it."""
        try:
            self._popen.stdin.close()
            self._popen.wait(20)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            self._popen.kill()
            self._popen.wait(10)
        self._log.close()


def load():
    """The engine's library as a module, without the package around it."""
    library = pathlib.Path(sysconfig.get_paths()["purelib"]) / "chdb" / "_chdb.abi3.so"
    # Its own symbols before Python's, as the package itself loads it.
    ctypes.CDLL(str(library), mode=sys.getdlopenflags() | os.RTLD_DEEPBIND)
    spec = importlib.util.spec_from_file_location("_chdb", library)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def serve(data, config):
    """Answers until its input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    # Whatever the engine prints must not look like an answer.
    os.dup2(2, 1)
    connection = load().connect(f"{data}?config-file={config}")
    for line in sys.stdin:
        try:
            answer = {"rows": connection.query(json.loads(line)["sql"], "JSONEachRow").bytes().decode()}
        except Exception as error:  # whatever the engine says
            answer = {"error": str(error)[:4000]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
    # Nothing of it is needed any more.
    os._exit(0)


if __name__ == "__main__":
    serve(*sys.argv[1:])
