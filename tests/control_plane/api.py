"""The API server as a client sees it: JSON over TLS, one connection per thread."""

import http.client
import json
import ssl
import threading
import urllib.parse

# Kind -> path of its group, plural, whether it lives in a namespace.
KINDS = {
    "Namespace": ("/api/v1", "namespaces", False),
    "Node": ("/api/v1", "nodes", False),
    "Pod": ("/api/v1", "pods", True),
    "Service": ("/api/v1", "services", True),
    "Endpoints": ("/api/v1", "endpoints", True),
    "Secret": ("/api/v1", "secrets", True),
    "ConfigMap": ("/api/v1", "configmaps", True),
    "ServiceAccount": ("/api/v1", "serviceaccounts", True),
    "PersistentVolumeClaim": ("/api/v1", "persistentvolumeclaims", True),
    "EndpointSlice": ("/apis/discovery.k8s.io/v1", "endpointslices", True),
    "Ingress": ("/apis/networking.k8s.io/v1", "ingresses", True),
    "NetworkPolicy": ("/apis/networking.k8s.io/v1", "networkpolicies", True),
    "Deployment": ("/apis/apps/v1", "deployments", True),
    "StatefulSet": ("/apis/apps/v1", "statefulsets", True),
    "DaemonSet": ("/apis/apps/v1", "daemonsets", True),
    "PodDisruptionBudget": ("/apis/policy/v1", "poddisruptionbudgets", True),
    "PriorityClass": ("/apis/scheduling.k8s.io/v1", "priorityclasses", False),
    "ClusterRole": ("/apis/rbac.authorization.k8s.io/v1", "clusterroles", False),
    "ClusterRoleBinding": ("/apis/rbac.authorization.k8s.io/v1", "clusterrolebindings", False),
    "Role": ("/apis/rbac.authorization.k8s.io/v1", "roles", True),
    "RoleBinding": ("/apis/rbac.authorization.k8s.io/v1", "rolebindings", True),
    "Lease": ("/apis/coordination.k8s.io/v1", "leases", True),
    "CustomResourceDefinition": ("/apis/apiextensions.k8s.io/v1", "customresourcedefinitions", False),
    "ServiceMonitor": ("/apis/monitoring.coreos.com/v1", "servicemonitors", True),
    "PrometheusRule": ("/apis/monitoring.coreos.com/v1", "prometheusrules", True),
}


class Refused(Exception):
    """The API server answered with an error."""

    def __init__(self, status, text):
        super().__init__(f"{status}: {text}")
        self.status = status


def path_of(thing, name=True):
    """The path of an object (or, without its name, of its collection)."""
    group, plural, namespaced = KINDS[thing["kind"]]
    meta = thing["metadata"]
    space = f"/namespaces/{meta['namespace']}" if namespaced else ""
    return f"{group}{space}/{plural}" + (f"/{meta['name']}" if name else "")


class Api:
    """An API server with one identity."""

    def __init__(self, host, port, ca_file, token):
        self.host, self.port = host, port
        self.token = token
        self._tls = ssl.create_default_context(cafile=str(ca_file))
        self._local = threading.local()

    def call(self, method, path, body=None, kind="application/json", **query):
        """One request: the answer as JSON. Raises Refused, and OSError when there is no answer."""
        if query:
            path += "?" + urllib.parse.urlencode(query)
        text = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": kind, "Accept": "application/json"}
        for attempt in range(2):
            connection = getattr(self._local, "connection", None)
            if connection is None:
                connection = http.client.HTTPSConnection(self.host, self.port, context=self._tls, timeout=20)
                self._local.connection = connection
            try:
                connection.request(method, path, text, headers)
                answer = connection.getresponse()
                raw = answer.read()
                break
            except (OSError, http.client.HTTPException):
                # A connection that was kept may have been closed by the server since.
                connection.close()
                self._local.connection = None
                if attempt:
                    raise
        try:
            found = json.loads(raw) if raw else {}
        except ValueError:
            found = {"message": raw.decode("utf-8", "replace")}
        if answer.status >= 400:
            raise Refused(answer.status, found.get("message", raw[:200]))
        return found

    def get(self, path, **query):
        """The object or list at a path."""
        return self.call("GET", path, **query)

    def create(self, thing):
        """Creates an object. A status in it is written too, as its controller or kubelet would."""
        made = self.call("POST", path_of(thing, name=False), thing)
        if "status" in thing and thing["kind"] in ("Pod", "Node", "Service", "Ingress"):
            made = self.status(thing)
        return made

    def status(self, thing):
        """Writes the status of an object."""
        patch = {"status": thing["status"]}
        return self.call("PATCH", path_of(thing) + "/status", patch, "application/merge-patch+json")

    def apply(self, thing, dry_run=False):
        """Server-side apply with strict field validation."""
        query = {"fieldManager": "suite", "fieldValidation": "Strict", "force": "true"}
        if dry_run:
            query["dryRun"] = "All"
        return self.call("PATCH", path_of(thing), thing, "application/apply-patch+yaml", **query)

    def patch(self, thing, patch):
        """Merges a patch into an object."""
        return self.call("PATCH", path_of(thing), patch, "application/merge-patch+json")

    def replace(self, thing):
        """Overwrites an object."""
        return self.call("PUT", path_of(thing), thing)

    def delete(self, thing, grace=None):
        """Deletes an object; with a grace period it is terminating until deleted again with 0."""
        body = {} if grace is None else {"gracePeriodSeconds": grace}
        return self.call("DELETE", path_of(thing), body)

    def service_account_token(self, namespace, name, pod=None):
        """A token as the kubelet gets it for a pod: by TokenRequest, bound to the pod."""
        spec = {"expirationSeconds": 3607}
        if pod:
            spec["boundObjectRef"] = {
                "apiVersion": "v1", "kind": "Pod", "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"],
            }
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        return self.call("POST", path, asked)["status"]["token"]
