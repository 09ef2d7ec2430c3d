"""A real control plane: etcd and kube-apiserver with RBAC, on addresses of the suite's own network namespace."""

import base64
import json
import pathlib
import secrets
import subprocess
import urllib.request

from api import Api, Refused
from processes import Failure, Process, wait_for

# The whole of 10.90.0.0/16 is local (see run.py): each node and pod has an address of its own, as in a cluster.
API_ADDRESS = "10.90.0.1"
API_PORT = 6443
ETCD = "http://127.0.0.1:2379"


class Ca:
    """A certificate authority, made by openssl."""

    def __init__(self, folder, name):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.cert, self.key = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        _openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                 "-subj", f"/CN={name}", "-addext", "basicConstraints=critical,CA:TRUE",
                 "-addext", "keyUsage=critical,keyCertSign,cRLSign", "-keyout", self.key, "-out", self.cert)

    def issue(self, name, alternatives):
        """A server certificate for `IP:..` and `DNS:..` names: the files of certificate and key."""
        cert, key, request = (self.folder / f"{name}.{end}" for end in ("crt", "key", "csr"))
        extensions = self.folder / f"{name}.ext"
        extensions.write_text(f"subjectAltName={','.join(alternatives)}\nextendedKeyUsage=serverAuth\n", "ascii")
        _openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={name}",
                 "-keyout", key, "-out", request)
        _openssl("x509", "-req", "-in", request, "-CA", self.cert, "-CAkey", self.key, "-CAcreateserial", "-days", "2",
                 "-extfile", extensions, "-out", cert)
        return cert, key


def _openssl(*arguments):
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, timeout=30, check=False)
    if done.returncode:
        raise Failure(f"openssl {arguments[0]}: {done.stderr}")


def ask_etcd(question, body):
    """A question to etcd, by its gateway for JSON."""
    request = urllib.request.Request(f"{ETCD}/v3/kv/{question}", json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)


class Cluster:
    """etcd and kube-apiserver; `api` is its administrator."""

    def __init__(self, programs, work):
        self._programs = programs
        self._work = work
        self.ca = Ca(work / "pki", "cluster-ca")
        self._cert, self._key = self.ca.issue(
            "kube-apiserver", [f"IP:{API_ADDRESS}", "IP:10.91.0.1", "DNS:kubernetes.default.svc"]
        )
        self._account_key = work / "pki" / "service-accounts.key"
        _openssl("genrsa", "-out", self._account_key, "2048")
        self.admin_token = secrets.token_hex(16)
        tokens = work / "pki" / "tokens.csv"
        tokens.write_text(f'{self.admin_token},admin,admin,"system:masters"\n', "ascii")
        self._tokens = tokens
        env = {"PATH": "/usr/bin:/bin", "HOME": str(work)}
        self._etcd = Process("etcd", [
            programs / "etcd", "--data-dir", work / "etcd", "--listen-client-urls", ETCD, "--advertise-client-urls", ETCD,
            "--listen-peer-urls", "http://127.0.0.1:2380", "--log-level", "warn", "--unsafe-no-fsync",
        ], work, env)
        self._server = None
        self.api = Api(API_ADDRESS, API_PORT, self.ca.cert, self.admin_token)
        self.start_server()

    def start_server(self):
        """Starts the API server and waits until it is ready."""
        flags = {
            "etcd-servers": ETCD,
            "advertise-address": API_ADDRESS,
            "bind-address": API_ADDRESS,
            "secure-port": API_PORT,
            "tls-cert-file": self._cert,
            "tls-private-key-file": self._key,
            "client-ca-file": self.ca.cert,
            "token-auth-file": self._tokens,
            "service-account-issuer": "https://kubernetes.default.svc",
            "service-account-key-file": self._account_key,
            "service-account-signing-key-file": self._account_key,
            "service-cluster-ip-range": "10.91.0.0/16",
            "authorization-mode": "RBAC",
            # The test creates pods by the thousand from one client.
            "max-mutating-requests-inflight": 400,
        }
        command = [self._programs / "kube-apiserver", *[f"--{name}={value}" for name, value in flags.items()]]
        env = {"PATH": "/usr/bin:/bin", "HOME": str(self._work)}
        self._server = Process("kube-apiserver", command, self._work, env)

        def ready():
            if not self._server.running():
                raise Failure(f"kube-apiserver ended: {self._server.tail()}")
            try:
                self.api.get("/readyz")
                return True
            except (OSError, Refused):
                return False

        wait_for("kube-apiserver to be ready", ready, 120, 0.2)

    def stop_server(self):
        """Ends the API server; etcd keeps what it knew."""
        self._server.stop()

    def compact(self):
        """Has etcd forget all but the present: whoever watches from an older version is told that it is gone."""
        every = base64.b64encode(b"/").decode()
        revision = ask_etcd("range", {"key": every, "limit": 1})["header"]["revision"]
        ask_etcd("compaction", {"revision": revision, "physical": True})

    def namespace(self, name):
        """Makes a namespace with the service account that its controller would make."""
        self.api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        self.api.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": name}})

    def version(self):
        """What the server says that it is."""
        return self.api.get("/version")["gitVersion"]

    def close(self):
        """Ends both."""
        if self._server:
            self._server.stop()
        self._etcd.stop()
