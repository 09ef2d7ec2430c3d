"""Commands as the documents have them, run by a shell as they stand there: `clickhouse-client` asks the suite's engine, `agent` is the
binary under test, and what would move things in a cluster asks the scenario."""

import json
import os
import pathlib
import re
import socketserver
import subprocess
import sys
import threading
import typing

from deployed import statements
from processes import Failure

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
# What a line of a document begins with that is a command of these programs.
COMMAND = re.compile(r"(agent|helm|kubectl|clickhouse-client|envsubst|export) |[A-Z_]+=")
STANDING_IN = ("clickhouse-client", "envsubst", "helm", "kubectl")
# Seconds for one command.
PATIENCE = 120

# Tells the suite how it was called, and prints what that answers.
STAND_IN = """#!{python}
import json, os, socket, sys
with socket.create_connection(("127.0.0.1", {port}), {patience}) as road:
    told = {{"program": os.path.basename(sys.argv[0]), "arguments": sys.argv[1:], "environment": dict(os.environ), "input": sys.stdin.read()}}
    road.sendall(json.dumps(told).encode() + b"\\n")
    answer = json.loads(road.makefile().readline())
sys.stdout.write(answer["output"])
sys.exit(answer["code"])
"""


class Done(typing.NamedTuple):
    """What came of a command."""

    code: int
    output: str
    errors: str

    def rows(self):
        """What `clickhouse-client` printed."""
        return [json.loads(line) for line in self.output.splitlines()]


def commands(document, sections=None):
    """The commands of a document, of some of its sections or of all: those lines of its blocks that begin like one."""
    found, section, block = [], "", []
    for line in (TOP / document).read_text("utf-8").splitlines():
        if line.startswith("#"):
            section = line.lstrip("# ")
        if not line.startswith("    "):
            block = []
            continue
        block.append(line.strip())
        whole = "\n".join(block)
        if block[-1].endswith("\\") or block[-1].endswith("|"):
            continue
        if COMMAND.match(whole) and (sections is None or section in sections):
            found.append(whole)
        block = []
    return found


class Shell:
    """A folder in which commands are run. `export` holds for those that follow."""

    def __init__(self, suite, folder, environment, words, cluster=None):
        """`words`: what stands in the documents for what the suite has; `cluster(program, arguments)` gives code and output."""
        self._engine, self._words, self._cluster, self._exports = suite.engine, words, cluster, ""
        self._folder = folder
        programs = folder / "bin"
        programs.mkdir(parents=True)
        (folder / "deploy").symlink_to(TOP / "deploy")
        (programs / "agent").symlink_to(suite.options.agent)
        shell = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self):
                told = json.loads(self.rfile.readline())
                try:
                    code, output = shell._answer(**told)
                except Exception as error:  # the command fails, and says so
                    code, output = 1, f"{error}\n"
                self.wfile.write(json.dumps({"code": code, "output": output}).encode() + b"\n")

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        for name in STANDING_IN:
            text = STAND_IN.format(python=sys.executable, port=self._server.server_address[1], patience=PATIENCE)
            (programs / name).write_text(text, "utf-8")
            (programs / name).chmod(0o755)
        self._environment = {"PATH": os.pathsep.join([str(programs), "/usr/bin", "/bin"]), "HOME": str(folder), **environment}

    def run(self, command):
        """Runs a command as it stands in a document."""
        for word, text in self._words.items():
            command = command.replace(word, text)
        if command.startswith("export "):
            self._exports += command + "\n"
        done = subprocess.run(["sh", "-c", self._exports + command], cwd=self._folder, env=self._environment, text=True,
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE, check=False)
        return Done(done.returncode, done.stdout, done.stderr)

    def word(self, word, text):
        """From here on this stands for that."""
        self._words[word] = text

    def _answer(self, program, arguments, environment, input):
        if program == "envsubst":
            return 0, re.sub(r"\$\{(\w+)\}", lambda match: environment[match.group(1)], input)
        if program == "clickhouse-client":
            return 0, self._ask(arguments, input)
        if not self._cluster:
            raise Failure(f"{program} is not expected here")
        return self._cluster(program, arguments)

    def _ask(self, arguments, text):
        rest = iter(arguments)
        for argument in rest:
            name, _, value = argument.partition("=")
            if name.startswith("--param_"):
                self._engine.query(f"SET {name[2:]} = '{value}'")
            elif argument == "--query":
                text = next(rest)
            elif argument != "--multiquery":
                raise Failure(f"clickhouse-client: {argument} is not known here")
        rows = [row for statement in statements(text) for row in self._engine.query(statement)]
        return "".join(json.dumps(row) + "\n" for row in rows)

    def close(self):
        """Ends it."""
        self._server.shutdown()
        self._server.server_close()
