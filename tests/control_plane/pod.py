"""The suite as kubelet: runs the agent as the pod template of a Deployment says, in a chroot that holds nothing else.

The root holds the static binary, the authorities that the image brings, and what a kubelet would mount. The process runs
without privileges, in a network namespace with an address of its own, and can write only where a volume is mounted: what
an image from scratch is, proved without an engine.
"""

import base64
import itertools
import os
import pathlib
import shutil
import signal
import subprocess
import time

from api import Refused
from cluster import API_ADDRESS, API_PORT
from processes import Failure, Process, http_get, wait_for

ACCOUNT = "var/run/secrets/kubernetes.io/serviceaccount"


class Pod:
    """One pod of a template: `start`, `page`, `stop`. Its spool outlives it where `spool` is given."""

    _count = itertools.count(1)

    def __init__(self, cluster, template, name, work, program, **more):
        self._number = next(self._count)
        self.cluster, self.name, self.address = cluster, name, f"10.93.{self._number}.2"
        self.template, self.program = template, program
        self.node = more.get("node", "node-000")
        self.namespace = more.get("namespace", "cedana-monitoring")
        self.extra = more.get("env", {})
        self._hosts, self._authorities = more.get("hosts", {}), more.get("authorities")
        # Pods of one name, one after the other, have nothing in common.
        self.place = f"{name}-{self._number}"
        self.root = pathlib.Path(work) / f"root-{self.place}"
        self.work = work
        self.process = None
        self.object = None
        self.began = None

    @property
    def spec(self):
        return self.template["spec"]

    @property
    def container(self):
        return self.spec["containers"][0]

    @property
    def port(self):
        return next(port["containerPort"] for port in self.container["ports"] if port["name"] == "http")

    def create(self):
        """The pod as an object: its token is bound to it, its labels are what a NetworkPolicy or a slice selects by."""
        spec = {**self.spec, "nodeName": self.node}
        meta = {"name": self.name, "namespace": self.namespace, "labels": self.template["metadata"]["labels"]}
        spec.pop("nodeSelector", None)
        self.object = self.cluster.api.create({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})

    def start(self):
        """Mounts, starts, waits until it is alive."""
        self.prepare()
        self.began = time.time()
        self.process = Process(self.name, self._command(*self.container.get("args", [])), self.work, self.environment())
        self.process.wait_ready(f"http://{self.address}:{self.port}{self.container['livenessProbe']['httpGet']['path']}")

    def prepare(self):
        """Everything before the start."""
        if self.object is None:
            self.create()
        self._mount()

    def _command(self, *arguments):
        user = self.spec["securityContext"]
        return [
            "/usr/bin/nsenter", f"--net=/run/netns/{self.place}", "/usr/sbin/chroot", f"--userspec={user['runAsUser']}:{user['runAsGroup']}",
            f"--groups={user['fsGroup']}", str(self.root), "/agent", *arguments,
        ]

    def _network(self):
        """A network namespace of its own, joined to the cluster's by a pair of interfaces."""
        name, outer = self.place, f"pod{self._number}"
        run("ip", "netns", "add", name)
        run("ip", "link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", name)
        run("ip", "addr", "add", f"10.93.{self._number}.1/24", "dev", outer)
        run("ip", "link", "set", outer, "up")
        run("ip", "-n", name, "link", "set", "lo", "up")
        run("ip", "-n", name, "addr", "add", f"{self.address}/24", "dev", "eth0")
        run("ip", "-n", name, "link", "set", "eth0", "up")
        run("ip", "-n", name, "route", "add", "default", "via", f"10.93.{self._number}.1")

    def cut(self, address):
        """From now on nothing of this pod reaches the address, and nobody tells it so."""
        run("ip", "-n", self.place, "route", "add", f"{address}/32", "dev", "lo")

    def join(self, address):
        """The contrary of `cut`."""
        run("ip", "-n", self.place, "route", "del", f"{address}/32", "dev", "lo")

    def environment(self):
        """What the template says, what every container gets, and nothing of this process."""
        found = {"KUBERNETES_SERVICE_HOST": API_ADDRESS, "KUBERNETES_SERVICE_PORT": str(API_PORT), "RUST_BACKTRACE": "1"}
        fields = {
            "metadata.name": self.name, "metadata.namespace": self.namespace, "spec.nodeName": self.node,
            "status.podIP": self.address,
        }
        for variable in self.container.get("env", []):
            value = variable.get("value", "")
            if source := variable.get("valueFrom"):
                value = fields[source["fieldRef"]["fieldPath"]] if "fieldRef" in source else self._secret(source["secretKeyRef"])
            if value is not None:
                found[variable["name"]] = value
        return found | self.extra

    def _secret(self, reference):
        path = f"/api/v1/namespaces/{self.namespace}/secrets/{reference['name']}"
        try:
            return base64.b64decode(self.cluster.api.get(path)["data"][reference["key"]]).decode()
        except Exception:
            if reference.get("optional"):
                return None
            raise

    def _mount(self):
        fresh = not self.root.exists()
        for folder in ("etc/ssl/certs", "proc", "dev", ACCOUNT, *[m["mountPath"].lstrip("/") for m in self.container["volumeMounts"]]):
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        if fresh:
            self._network()
            shutil.copy(self.program, self.root / "agent")
            run("mount", "-t", "proc", "proc", self.root / "proc")
            (self.root / "dev/null").touch()
            run("mount", "--bind", "/dev/null", self.root / "dev/null")
        hosts = {"127.0.0.1": "localhost", self.address: self.name, **{ip: " ".join(names) for ip, names in self._hosts.items()}}
        self._write("etc/hosts", "".join(f"{ip}\t{names}\n" for ip, names in hosts.items()))
        self._write("etc/resolv.conf", "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
        if self._authorities:
            self._write("etc/ssl/certs/ca-certificates.crt", pathlib.Path(self._authorities).read_text("ascii"))
        self.renew_token()
        self._write(f"{ACCOUNT}/ca.crt", self.cluster.ca.cert.read_text("ascii"))
        self._write(f"{ACCOUNT}/namespace", self.namespace)
        volumes = {volume["name"]: volume for volume in self.spec.get("volumes", [])}
        for mount in self.container["volumeMounts"]:
            self._volume(mount["mountPath"].lstrip("/"), volumes.get(mount["name"], {}))

    def _volume(self, folder, volume):
        """Fills a volume from its secret or config map, or gives it to the pod's group as an empty directory."""
        user = self.spec["securityContext"]
        if secret := volume.get("secret"):
            for one in secret["items"]:
                name = f"{folder}/{one['path']}"
                self._write(name, self._secret({"name": secret["secretName"], "key": one["key"]}))
                os.chown(self.root / name, 0, user["fsGroup"])
                (self.root / name).chmod(secret.get("defaultMode", 0o644))
        elif config := volume.get("configMap"):
            for key, text in self.cluster.api.get(f"/api/v1/namespaces/{self.namespace}/configmaps/{config['name']}")["data"].items():
                self._write(f"{folder}/{key}", text)
        else:
            os.chown(self.root / folder, user["runAsUser"], user["fsGroup"])

    def renew_token(self):
        """Writes a fresh token where the old one was, as the kubelet does."""
        token = self.cluster.api.service_account_token(self.namespace, self.spec["serviceAccountName"], self.object)
        self._write(f"{ACCOUNT}/token.new", token)
        (self.root / ACCOUNT / "token.new").rename(self.root / ACCOUNT / "token")
        return token

    def _write(self, name, text):
        (self.root / name).write_text(text, "utf-8")

    def command(self, *arguments, seconds=60, env=None):
        """Runs a command in the same container beside the agent, as `kubectl exec` would: exit code and output."""
        environment = {**self.environment(), **(env or {})}
        done = subprocess.run(
            self._command(*arguments), env=environment, capture_output=True, text=True, timeout=seconds, check=False, cwd="/"
        )
        return done.returncode, done.stdout, done.stderr

    def page(self, path):
        """One of its pages."""
        return http_get(f"http://{self.address}:{self.port}{path}")

    def ready(self):
        """What its readiness probe says."""
        return self.page(self.container["readinessProbe"]["httpGet"]["path"])

    def wait_ready(self, seconds):
        """Waits for its readiness."""

        def ready():
            if not self.process.running():
                raise Failure(f"the agent ended: {self.process.tail()}")
            return self.ready()[0] == 200

        wait_for(f"{self.name} to be ready ({self.ready()[1]})", ready, seconds)

    def stop(self):
        """As the kubelet does: SIGTERM, and SIGKILL after the grace period. Exit code (None: killed) and seconds."""
        began = time.monotonic()
        code = self.process.signal_and_wait(signal.SIGTERM, self.spec["terminationGracePeriodSeconds"])
        if code is None:
            self.process.kill()
        return code, time.monotonic() - began

    def log(self):
        """All that it printed."""
        return self.process.output.read_text("utf-8", "replace") if self.process else ""

    def written(self):
        """Files in its root that neither the image nor a kubelet put there, outside the volumes."""
        known = {"agent", "etc/hosts", "etc/resolv.conf", "etc/ssl/certs/ca-certificates.crt", "dev/null",
                 *[f"{ACCOUNT}/{name}" for name in ("token", "ca.crt", "namespace")]}
        volumes = tuple(mount["mountPath"].lstrip("/") + "/" for mount in self.container["volumeMounts"])
        found = [str(path.relative_to(self.root)) for path in self.root.rglob("*") if path.is_file() and "proc" not in path.parts]
        return [name for name in found if name not in known and not name.startswith(volumes)]

    def close(self):
        """Ends the process, deletes the pod, and unmounts."""
        if self.process:
            self.process.stop()
        if self.object:
            try:
                self.cluster.api.delete(self.object, grace=0)
            except (Refused, OSError):
                pass  # gone already, or the API server is
            self.object = None
        for folder in ("proc", "dev/null"):
            subprocess.run(["umount", str(self.root / folder)], capture_output=True, check=False, timeout=10)


def run(*command):
    """Runs a tool to its end; a Failure with what it said."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=10, check=False)
    if done.returncode:
        raise Failure(f"{command[0]}: {done.stderr}")
