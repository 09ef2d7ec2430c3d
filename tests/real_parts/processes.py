"""Programs started by the suite: output to a file, waited for with deadlines, stopped by their ids whatever happens."""

import pathlib
import re
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request


class Failure(Exception):
    """The suite cannot go on; the text says why and where to look."""


def free_port():
    """A loopback port chosen by the system. Another process may take it before ours does: whoever uses it retries."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(what, condition, seconds, interval=0.05):
    """Waits until `condition()` is true and returns its value; a Failure that names `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Failure(f"waited {seconds} s in vain for {what}")
        time.sleep(interval)


def http_get(url, seconds=5):
    """Status and body of a GET; status 0 and the error's text when there was no answer."""
    try:
        with urllib.request.urlopen(url, timeout=seconds) as answer:
            return answer.status, answer.read().decode("utf-8", "replace")
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode("utf-8", "replace")
    except OSError as error:
        return 0, str(error)


class Process:
    """One started program."""

    def __init__(self, name, command, work, env):
        self.name = name
        self.output = pathlib.Path(work) / f"{name}.log"
        self.command = [str(word) for word in command]
        with self.output.open("ab") as out:
            self._popen = subprocess.Popen(
                self.command, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, cwd=work
            )
        self.pid = self._popen.pid
        self.rss_peak_kib = 0
        self.cpu_seconds = 0.0

    def running(self):
        """Whether it runs; while it does, its CPU time and peak of resident memory are noted."""
        if self._popen.poll() is not None:
            return False
        self._measure()
        return True

    def wait_ready(self, url, seconds=30):
        """Waits until `url` answers 200."""

        def ready():
            if not self.running():
                raise Failure(f"{self.name} ended with {self._popen.returncode}; its output: {self.tail()}")
            return http_get(url, 1)[0] == 200

        wait_for(f"{self.name} to answer", ready, seconds)

    def signal_and_wait(self, number, seconds):
        """Sends a signal and returns the exit code, or None when it did not end in time."""
        self.running()
        self._popen.send_signal(number)
        deadline = time.monotonic() + seconds
        while self.running():
            if time.monotonic() > deadline:
                return None
            time.sleep(0.02)
        return self._popen.returncode

    def kill(self):
        """SIGKILL: no time to clean up."""
        self._popen.kill()
        self._popen.wait(10)

    def send(self, number):
        """Sends a signal, such as SIGSTOP."""
        self._popen.send_signal(number)

    def stop(self):
        """Ends it, politely first."""
        if self._popen.poll() is None and self.signal_and_wait(signal.SIGTERM, 15) is None:
            self.kill()

    def tail(self, lines=30):
        """The end of its output."""
        return "\n".join(self.output.read_text("utf-8", "replace").splitlines()[-lines:])

    def _measure(self):
        # VmHWM, not rusage's maxrss: that one begins with the size of this Python process, before the exec.
        try:
            status = pathlib.Path(f"/proc/{self.pid}/status").read_text()
            fields = pathlib.Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            return
        peak = re.search(r"VmHWM:\s+(\d+) kB", status)
        if peak:
            self.rss_peak_kib = max(self.rss_peak_kib, int(peak.group(1)))
            # proc(5): utime and stime, in ticks of 1/100 s.
            self.cpu_seconds = (int(fields[11]) + int(fields[12])) / 100


def start_on_free_port(name, make_command, ready_path, work, env, attempts=5):
    """Starts a server that must be told its port; tries again when somebody else was faster to take it."""
    for attempt in range(attempts):
        port = free_port()
        process = Process(name, make_command(port), work, env)
        try:
            process.wait_ready(f"http://127.0.0.1:{port}{ready_path}", 60)
            return process, port
        except Failure:
            process.stop()
            if attempt + 1 == attempts:
                raise
    raise Failure(f"{name} could not be started")
