"""Prometheus' own discovery and relabelling judge ours: the same scrape configs, the same API server, the same labels.

The judge is Prometheus' Go package (go/judge); ours is `agent targets`. Every role, namespaces, selectors, attached metadata, and
the objects that a cluster has on a bad day.
"""

import json
import subprocess
import time
from collections import Counter

import yaml

import objects
from cluster import API_ADDRESS, API_PORT

SPACE, OTHER = "oracle", "oracle-other"

# Labels that the agent sets after discovery and Prometheus sets elsewhere (scrape.PopulateLabels).
SET_LATER = {"__scheme__", "__metrics_path__", "__scrape_interval__", "__scrape_timeout__", "job", "instance"}

# What each job says beside its name and the way to the server.
JOBS = {
    "node": [{"role": "node"}],
    "pod": [{"role": "pod", "namespaces": {"names": [SPACE, OTHER]}}],
    "service": [{"role": "service", "namespaces": {"names": [SPACE]}}],
    "endpoints": [{"role": "endpoints", "namespaces": {"names": [SPACE]}}],
    "endpointslice": [{"role": "endpointslice", "namespaces": {"names": [SPACE]}}],
    "ingress": [{"role": "ingress", "namespaces": {"names": [SPACE]}}],
    "pods of everywhere": [{"role": "pod"}],
    "slices of everywhere": [{"role": "endpointslice"}],
    "a namespace that is not there": [{"role": "pod", "namespaces": {"names": ["nowhere"]}}],
    "pods with node": [{"role": "pod", "namespaces": {"names": [SPACE]}, "attach_metadata": {"node": True}}],
    "pods with namespace": [{"role": "pod", "namespaces": {"names": [SPACE]}, "attach_metadata": {"namespace": True}}],
    "slices with node": [{"role": "endpointslice", "namespaces": {"names": [SPACE]}, "attach_metadata": {"node": True}}],
    "endpoints with node": [{"role": "endpoints", "namespaces": {"names": [SPACE]}, "attach_metadata": {"node": True}}],
    "slices with namespace": [
        {"role": "endpointslice", "namespaces": {"names": [SPACE]}, "attach_metadata": {"namespace": True}},
    ],
    "pods by label": [
        {"role": "pod", "namespaces": {"names": [SPACE]}, "selectors": [{"role": "pod", "label": "app in (web,db),tier!=back"}]},
    ],
    "pods by field": [
        {"role": "pod", "namespaces": {"names": [SPACE]}, "selectors": [{"role": "pod", "field": "spec.nodeName=node-001"}]},
    ],
    "nodes by label": [{"role": "node", "selectors": [{"role": "node", "label": "nvidia.com/gpu.present=true"}]}],
    "slices of selected services": [
        {"role": "endpointslice", "namespaces": {"names": [SPACE]}, "selectors": [
            {"role": "endpointslice", "label": "kubernetes.io/service-name=web"}, {"role": "service", "label": "app=web"},
            {"role": "pod", "label": "app=web"},
        ]},
    ],
    "endpoints of selected services": [
        {"role": "endpoints", "namespaces": {"names": [SPACE]}, "selectors": [
            {"role": "service", "label": "app=web"}, {"role": "pod", "label": "app=web"}, {"role": "endpoints", "label": "app=web"},
        ]},
    ],
    "two configs in one job": [
        {"role": "pod", "namespaces": {"names": [SPACE]}}, {"role": "service", "namespaces": {"names": [SPACE, OTHER]}},
    ],
    "annotations": [{"role": "pod", "namespaces": {"names": [SPACE]}}],
    "the cookbook": [{"role": "endpoints", "namespaces": {"names": [SPACE]}}],
    "relabelled": [{"role": "endpointslice", "namespaces": {"names": [SPACE]}}],
}
RELABEL = {
    # The usual rules for the usual annotations.
    "annotations": [
        {"source_labels": ["__meta_kubernetes_pod_annotation_prometheus_io_scrape"], "action": "keep", "regex": "true"},
        {"source_labels": ["__meta_kubernetes_pod_annotation_prometheus_io_scheme"], "action": "replace", "regex": "(https?)",
         "target_label": "__scheme__"},
        {"source_labels": ["__meta_kubernetes_pod_annotation_prometheus_io_path"], "action": "replace", "target_label": "__metrics_path__",
         "regex": "(.+)"},
        {"source_labels": ["__address__", "__meta_kubernetes_pod_annotation_prometheus_io_port"], "action": "replace",
         "regex": r"([^:]+)(?::\d+)?;(\d+)", "replacement": "$1:$2", "target_label": "__address__"},
        {"action": "labelmap", "regex": "__meta_kubernetes_pod_label_(.+)"},
    ],
    "the cookbook": [
        {"source_labels": ["__meta_kubernetes_endpoints_name"], "action": "drop", "regex": ".*-node-feature-discovery-master"},
        {"source_labels": ["__meta_kubernetes_pod_node_name"], "action": "replace", "target_label": "kubernetes_node"},
    ],
    "relabelled": [
        {"source_labels": ["__meta_kubernetes_endpointslice_endpoint_conditions_ready"], "regex": "false", "action": "drop"},
        {"source_labels": ["__meta_kubernetes_namespace", "__meta_kubernetes_service_name"], "separator": "/", "target_label": "job"},
        {"source_labels": ["__address__"], "modulus": 7, "target_label": "__tmp_hash", "action": "hashmod"},
        {"source_labels": ["__tmp_hash"], "regex": "[0-4]", "action": "keep"},
        {"source_labels": ["__meta_kubernetes_pod_name"], "target_label": "pod", "action": "uppercase"},
        {"regex": "__meta_kubernetes_pod_label_(.+)", "action": "labelmap", "replacement": "k8s_$1"},
        {"regex": "k8s_app_.*", "action": "labeldrop"},
    ],
}


def check(suite):
    """Makes the objects of a bad day, asks both, compares; changes things, and compares again."""
    made = make(suite)
    agent, judge = config(suite)
    compare(suite, "at first", agent, judge)
    change(suite, made)
    compare(suite, "after changes", agent, judge)
    suite.checks.section("cookbook", cookbook, suite)


def config(suite):
    """The same jobs for the agent and for the judge."""
    token = suite.work / "oracle-token"
    token.write_text(suite.api.token, "ascii")
    way = {
        "api_server": f"https://{API_ADDRESS}:{API_PORT}",
        "authorization": {"credentials_file": str(token)},
        "tls_config": {"ca_file": str(suite.cluster.ca.cert)},
    }
    jobs = [
        {"job_name": name, "kubernetes_sd_configs": [{**sd, **way} for sd in sds], "relabel_configs": RELABEL.get(name, [])}
        for name, sds in JOBS.items()
    ]
    for_judge = suite.work / "judge.yaml"
    for_judge.write_text(yaml.safe_dump({"scrape_configs": jobs}), "utf-8")
    for_agent = suite.work / "oracle.yaml"
    own = {"scrape_configs": jobs, "internal_metrics": False, "sink": {"file": {"dir": str(suite.work / "unused")}}}
    for_agent.write_text(yaml.safe_dump(own), "utf-8")
    return for_agent, for_judge


def compare(suite, when, agent, judge):
    """Discovered labels and relabelled labels of every target, as multisets per job."""
    checks = suite.checks
    # Prometheus does not say when it has listed everything; a busy machine needs longer.
    for seconds in ("6", "20", "40"):
        theirs = json.loads(suite.tool("judge", judge, seconds))
        if sum(not t for t in theirs.values()) == 1:
            break
    checks.that(f"{when}: Prometheus finds targets in every job but one", sum(not t for t in theirs.values()) == 1,
                [name for name, t in theirs.items() if not t])
    ours_raw = subprocess.run(
        [str(suite.options.agent), "targets", "--config", str(agent)], capture_output=True, text=True, timeout=60, check=False,
        env={"PATH": "/usr/bin:/bin"}, cwd=suite.work,
    )
    if not checks.that(f"{when}: agent targets answers", ours_raw.returncode == 0, ours_raw.stderr[-1500:]):
        return
    ours = {}
    for target in json.loads(ours_raw.stdout):
        ours.setdefault(target["job"], []).append(target)
    for name in JOBS:
        found = Counter(plain(t["discovered_labels"]) for t in ours.get(name, []))
        wanted = Counter(plain(t["discovered"]) for t in theirs[name])
        checks.that(f"{when}: {name}: {sum(wanted.values())} targets, every label as Prometheus has it", found == wanted,
                    lambda found=found, wanted=wanted: difference(found, wanted))
        # What relabelling made of them. Prometheus shows one of several targets that became equal, and so does the agent.
        found = {plain(t["labels"], hidden=False) for t in ours.get(name, []) if t["state"] == "active"}
        wanted = {plain(t["labels"], hidden=False) for t in theirs[name] if t["labels"] is not None and t["labels"].get("__address__")}
        checks.that(f"{when}: {name}: relabelled as Prometheus does", found == wanted,
                    lambda found=found, wanted=wanted: difference(Counter(found), Counter(wanted)))
    suite.say(f"{when}: {sum(len(t) for t in theirs.values())} targets compared")


def plain(labels, hidden=True):
    """Labels as a comparable value: what discovery gave, or what a series would carry."""
    kept = labels.items()
    if hidden:
        kept = [(name, value) for name, value in kept if name not in SET_LATER or name == "__address__"]
    else:
        kept = [(name, value) for name, value in kept if not name.startswith("__") and name != "instance"]
    return tuple(sorted(kept))


def difference(found, wanted):
    """A few differences, label by label where two targets have the same address."""
    missing, extra = list((wanted - found).elements()), list((found - wanted).elements())
    text = [f"{len(missing)} missing, {len(extra)} too much"]
    for one in missing[:2]:
        mine = dict(one)
        near = max(extra, key=lambda other: len(set(other) & set(one)), default=())
        text.append(f"missing {mine.get('__address__')}: theirs only {sorted(set(one) - set(near))}, ours only {sorted(set(near) - set(one))}")
    for one in extra[: 2 if not missing else 0]:
        text.append(f"too much: {one}")
    return "; ".join(text)[:3000]


def make(suite):
    """Objects with everything that makes labels, and what a bad day has."""
    api = suite.api
    suite.cluster.namespace(SPACE)
    suite.cluster.namespace(OTHER)
    api.patch({"kind": "Namespace", "metadata": {"name": SPACE}},
              {"metadata": {"labels": {"team": "gpu", "odd/label-name": "1"}, "annotations": {"contact.example/who": "me"}}})
    place = iter(range(1, 250))
    address = lambda: f"10.94.0.{next(place)}"  # noqa: E731
    ports = [{"name": "http", "containerPort": 8080}, {"containerPort": 9090, "protocol": "UDP"}]
    web = [
        api.create(objects.pod(
            SPACE, f"web-{index}", f"node-{index:03}", address(), f"10.90.10.{index + 1}", owner=("ReplicaSet", "web"),
            labels={"app": "web", "tier": "front", "app.kubernetes.io/name": "web"}, ports=ports, ready=index != 2,
            annotations={"prometheus.io/scrape": str(index % 2 == 0).lower(), "prometheus.io/port": "8081", "prometheus.io/path": "/m"},
            init_containers=[{"name": "first", "image": "registry/first:2", "ports": [{"name": "early", "containerPort": 7000}]}],
        ))
        for index in range(4)
    ]
    db = api.create(objects.pod(SPACE, "db-0", "node-001", address(), "10.90.10.2", labels={"app": "db"},
                                containers=[{"name": "a", "image": "a:1"}, {"name": "b", "image": "b:1", "ports": ports}]))
    api.create(objects.pod(SPACE, "pending", "node-001", "", "10.90.10.2", phase="Pending", labels={"app": "web"}))
    api.create(objects.pod(SPACE, "done", "node-001", address(), "10.90.10.2", phase="Succeeded", labels={"app": "batch"}))
    six = api.create(objects.pod(SPACE, "six", "node-002", "fd00:90::5", "10.90.10.3", labels={"app": "six"}, ports=ports))
    api.create(objects.pod(OTHER, "elsewhere", "node-003", address(), "10.90.10.4", labels={"app": "web"}, ports=ports))
    doomed = api.create(objects.pod(SPACE, "doomed", "node-003", address(), "10.90.10.4", labels={"app": "web"}, ports=ports))
    api.delete(doomed, grace=600)  # terminating from now on
    labels = {"labels": {"app": "web", "odd.label/x-y": "v"}, "annotations": {"a.b/c-d": "e"}}
    api.create(objects.service(SPACE, "web", {"http": 80, "extra": 81}, **labels))
    api.create(objects.service(SPACE, "headless", {"http": 80}, headless=True))
    api.create(objects.service(SPACE, "outside", {"http": 80}, external_name="example.com"))
    api.create(objects.service(OTHER, "web", {"http": 80}))
    e = objects.endpoint
    some = [e(p["status"]["podIP"], p, f"node-{i:03}", ready=i != 2, serving=True, terminating=False) for i, p in enumerate(web)]
    some.append(e(doomed["status"]["podIP"], doomed, "node-003", ready=False, serving=True, terminating=True))
    api.create(objects.slice_of(SPACE, "web", "one", some, {"http": 8080, "extra": 9999}))
    # The same addresses once more, as while slices are rebalanced; one without a pod; one that nobody knows anything of.
    bare = {"addresses": ["10.94.1.1"]}
    api.create(objects.slice_of(SPACE, "web", "two", [some[0], e("10.94.1.2", None, "node-000"), bare], {"http": 8080}))
    # A port without a number, one without a name, several addresses; no ports at all; no endpoints; the other family.
    odd = objects.slice_of(SPACE, "headless", "odd", [{**e(db["status"]["podIP"], db, "node-001"), "hostname": "db-zero", "zone": "z1"}], {"http": 80})
    odd["ports"] = [{"name": "http", "port": 8080, "protocol": "TCP", "appProtocol": "http"}, {"name": "", "port": 81, "protocol": "UDP"}]
    odd["endpoints"][0]["addresses"].append("10.94.1.9")
    api.create(odd)
    api.create(objects.slice_of(SPACE, "headless", "no-ports", [e("10.94.1.3")], None))
    api.create(objects.slice_of(SPACE, "headless", "nobody", [], {"http": 80}))
    api.create(objects.slice_of(SPACE, "web", "six", [e("fd00:90::5", six, "node-002")], {"http": 8080}, "IPv6"))
    api.create(objects.slice_of(SPACE, "web", "names", [{"addresses": ["a.example.com"]}], {"http": 8080}, "FQDN"))
    orphan = objects.slice_of(SPACE, "ghost", "x", [e("10.94.1.4", db, "node-001")], {"http": 80})
    api.create(orphan)  # of a service that is not there
    for name, subsets in endpoints(web, db, some).items():
        meta = {"name": name, "namespace": SPACE, "labels": {"app": name.split("-", 1)[0]}, "annotations": {"x/y": "z"}}
        api.create({"apiVersion": "v1", "kind": "Endpoints", "metadata": meta, "subsets": subsets})
    backend = {"service": {"name": "web", "port": {"number": 80}}}
    paths = [{"path": path, "pathType": "Prefix", "backend": backend} for path in ("/", "/a")]
    rules = [{"host": "a.example.com", "http": {"paths": paths}}, {"host": "b.example.com", "http": {"paths": paths[:1]}}]
    for name, spec in {
        "plain": {"ingressClassName": "nginx", "rules": rules},
        "secure": {"tls": [{"hosts": ["a.example.com"], "secretName": "s"}], "rules": rules},
        "wild": {"tls": [{"hosts": ["*.example.com"], "secretName": "s"}], "rules": [*rules, {"host": "*.example.com"}]},
        "nothing": {"defaultBackend": backend},
    }.items():
        meta = {"name": name, "namespace": SPACE, "labels": {"l": "1"}, "annotations": {"n/a": "2"}}
        api.create({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": meta, "spec": spec})
    return {"web": web, "db": db, "some": some}


def endpoints(web, db, some):
    """Subsets of the older kind of object."""
    def of(pod, node):
        target = {"kind": "Pod", "namespace": SPACE, "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}
        return {"ip": pod["status"]["podIP"], "nodeName": node, "targetRef": target}

    ports = [{"name": "http", "port": 8080}, {"name": "extra", "port": 9999, "protocol": "UDP"}]
    return {
        "web": [
            {"addresses": [of(web[0], "node-000"), of(web[1], "node-001")], "notReadyAddresses": [of(web[2], "node-002")], "ports": ports},
            {"addresses": [of(web[0], "node-000"), {"ip": "10.94.1.5", "hostname": "h"}], "ports": [{"port": 8080}]},
        ],
        "headless": [{"addresses": [of(db, "node-001")], "ports": ports[:1]}],
        "x-node-feature-discovery-master": [{"addresses": [{"ip": "10.94.1.6"}], "ports": ports[:1]}],
        "no-ports": [{"addresses": [{"ip": "10.94.1.7"}]}],
        "gpu": [{"addresses": [{"ip": "10.94.1.8", "targetRef": {"kind": "Node", "name": "node-001"}}], "ports": ports[:1]}],
    }


def change(suite, made):
    """Labels change, a named port vanishes, pods become ready and go, a service goes before its slices."""
    api = suite.api
    api.patch(made["web"][0], {"metadata": {"labels": {"new": "label", "tier": None}, "annotations": {"prometheus.io/scrape": None}}})
    ready = made["web"][2]
    ready["status"]["conditions"] = [{"type": "Ready", "status": "True"}]
    api.status({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web-2", "namespace": SPACE}, "status": ready["status"]})
    api.delete(made["web"][3], grace=0)
    some = [one for one in made["some"] if one["targetRef"]["name"] != "web-3"]
    api.apply(objects.slice_of(SPACE, "web", "one", some, {"extra": 9999}))
    api.delete({"kind": "Service", "metadata": {"name": "headless", "namespace": SPACE}})
    api.patch({"kind": "Node", "metadata": {"name": "node-001"}}, {"metadata": {"labels": {"changed": "yes"}}})
    api.patch({"kind": "Namespace", "metadata": {"name": SPACE}}, {"metadata": {"labels": {"team": "other"}}})
    api.delete({"kind": "Ingress", "metadata": {"name": "plain", "namespace": SPACE}})
    time.sleep(1)


COOKBOOK = """scrape_configs:
- job_name: gpu-metrics
  scrape_interval: 1s
  metrics_path: /metrics
  scheme: http
  kubernetes_sd_configs:
  - role: endpoints
    namespaces:
    {indent}names:
    {indent}- gpu-operator
  relabel_configs:
  - source_labels: [__meta_kubernetes_endpoints_name]
    action: drop
    regex: .*-node-feature-discovery-master
  - source_labels: [__meta_kubernetes_pod_node_name]
    action: replace
    target_label: kubernetes_node
sink: {{file: {{dir: unused}}}}
internal_metrics: false
server: {{listen: 0.0.0.0:9598}}
"""


def cookbook(suite):
    """The scrape config in circulation: refused with the hint, and scraping once it is indented."""
    checks, fleet = suite.checks, suite.fleet
    pod = suite.pod(suite.base, "cookbook")
    pod.extra = {"AGENT_CONFIG": "/var/lib/agent/agent.yaml"}
    pod.prepare()
    file = pod.root / "var/lib/agent/agent.yaml"
    file.write_text(COOKBOOK.format(indent=""), "ascii")
    code, out, err = pod.command("check")
    checks.that("the cookbook's job is refused with the very hint", code == 2 and "names" in err and "indent" in err, out + err)
    file.write_text(COOKBOOK.format(indent="  "), "ascii")
    # It asks for Endpoints, which the shipped ClusterRole does not have: the error must say what to add.
    code, out, err = pod.command("targets")
    checks.that("without its permission the rule to add is named", "endpoints" in err and "list" in err, (out + err)[-800:])
    api = suite.api
    rules = [{"apiGroups": [""], "resources": ["endpoints", "pods", "services"], "verbs": ["list", "watch"]}]
    meta = {"name": "cookbook", "namespace": "gpu-operator"}
    api.create({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": meta, "rules": rules})
    subject = {"kind": "ServiceAccount", "name": "cedana-agent", "namespace": "cedana-monitoring"}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "cookbook"}
    api.create({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": meta, "roleRef": reference, "subjects": [subject]})
    ports = [{"name": "gpu-metrics", "port": 9400}]
    addresses = [
        {"ip": one["addresses"][0], "nodeName": one["nodeName"], "targetRef": one["targetRef"]} for one in fleet.dcgm.endpoints
    ]
    for name, subsets in (("nvidia-dcgm-exporter", [{"addresses": addresses, "ports": ports}]),
                          ("gpu-node-feature-discovery-master", [{"addresses": [{"ip": "10.94.1.6"}], "ports": ports}])):
        meta = {"name": name, "namespace": "gpu-operator"}
        api.create({"apiVersion": "v1", "kind": "Endpoints", "metadata": meta, "subsets": subsets})
    code, out, err = pod.command("--dry-run")
    samples = [json.loads(line) for line in out.splitlines()]
    nodes = {s["labels"].get("kubernetes_node") for s in samples if s["metric"] == "DCGM_FI_DEV_GPU_UTIL"}
    checks.equal("indented, it scrapes every GPU node and names it", (code, nodes), (0, {one["nodeName"] for one in fleet.dcgm.endpoints}))
    for endpoint in suite.stand_ins.endpoints:
        endpoint.answered.clear()
