"""What is shipped for installing: every object is shown to the API server, which validates strictly and stores nothing.

The chart's defaults are the kustomize base; value sets that do not fit together are refused with a reason; the ports of the
network policy are those of the built-in jobs; the operator's objects are validated by its own CRDs.
"""

import base64
import copy
import json
import re

import yaml

from api import Refused
from fleet import MONITORING
from suite import DEPLOY

CHART = DEPLOY / "helm" / "cedana-agent"
# What `helm template` shall take the cluster for.
VERSION = "v1.36.3"
# Labels that only helm gives.
HELM_LABELS = {"helm.sh/chart", "app.kubernetes.io/version", "app.kubernetes.io/managed-by"}

# Value sets that must be accepted, with the kinds that they add to the base.
GOOD = {
    "defaults": ([], set()),
    "two replicas": (["replicas=2"], {"Role", "RoleBinding", "PodDisruptionBudget"}),
    "persistent spool": (["spool.persistence.enabled=true"], {"PersistentVolumeClaim"}),
    "persistent spool of a class": (
        ["spool.persistence.enabled=true", "spool.persistence.storageClassName=fast", "spool.size=20Gi", "spool.maxBytes=16GiB"],
        {"PersistentVolumeClaim"},
    ),
    "three shards": (
        ["mode=statefulset", "sharding.total=3", "ingestion=partitioned"], {"StatefulSet", "Service", "PodDisruptionBudget"},
    ),
    "shards with claims": (
        ["mode=statefulset", "sharding.total=3", "ingestion=partitioned", "spool.persistence.enabled=true"],
        {"StatefulSet", "Service", "PodDisruptionBudget"},
    ),
    "one on each node": (["mode=daemonset", "ingestion=partitioned"], {"DaemonSet", "Deployment"}),
    "one on each node, which reads it": (
        ["mode=daemonset", "ingestion=partitioned", "hostMetrics.enabled=true"], {"DaemonSet", "Deployment"},
    ),
    "one on each node, and nobody watches events": (
        ["mode=daemonset", "ingestion=partitioned", "kubernetesEvents.enabled=false"], {"DaemonSet"},
    ),
    "one on each node, looked after": (
        ["mode=daemonset", "ingestion=partitioned", "networkPolicy.enabled=true", "monitoring.serviceMonitor.enabled=true"],
        {"DaemonSet", "Deployment", "Service", "ServiceMonitor", "NetworkPolicy"},
    ),
    "no events": (["kubernetesEvents.enabled=false"], set()),
    "network policy": (
        ["networkPolicy.enabled=true", "networkPolicy.metricsFrom[0].podSelector.matchLabels.app=prometheus"], {"NetworkPolicy"},
    ),
    "the operator's objects": (
        ["monitoring.serviceMonitor.enabled=true", "monitoring.rules.enabled=true", "monitoring.rules.alertLabels.team=gpu"],
        {"Service", "ServiceMonitor", "PrometheusRule"},
    ),
    "legacy static keys": (
        ["credentials.source=static", "credentials.clusterId=c1", "s3.bucket=b", "s3.region=us-east-1"], set(),
    ),
    "IRSA": (
        ["credentials.source=aws", "credentials.clusterId=c1", "s3.bucket=b", "s3.region=us-east-1",
         r"serviceAccount.annotations.eks\.amazonaws\.com/role-arn=arn:aws:iam::000000000000:role/metrics"], set(),
    ),
    "pod identity": (["credentials.source=aws", "credentials.clusterId=c1", "s3.bucket=b", "s3.region=us-east-1"], set()),
    "everything else": (
        ["credentials.cedana.url=https://ci.example.com", "credentials.cedana.refreshInterval=10m", "s3.prefixSuffix=parquet",
         "kubelet.insecureSkipVerify=true", "logLevel=debug", "extraEnv[0].name=HTTPS_PROXY", "extraEnv[0].value=http://proxy:3128",
         "extraEnvFrom[0].secretRef.name=more", "priorityClassName=system-cluster-critical", "tolerations[0].key=nvidia.com/gpu",
         "tolerations[0].operator=Exists", "tolerations[0].effect=NoSchedule", "imagePullSecrets[0].name=registry",
         "podLabels.team=gpu", "podAnnotations.note=yes", "rbac.extraRules[0].apiGroups[0]=", "rbac.extraRules[0].resources[0]=endpoints",
         "rbac.extraRules[0].verbs[0]=watch", "config=# 0.0.0.0:9598 /var/lib/agent/spool SPOOL_MAX_BYTES LEADER_ELECTION",
         "topologySpreadConstraints[0].maxSkew=1", "topologySpreadConstraints[0].topologyKey=kubernetes.io/hostname",
         "topologySpreadConstraints[0].whenUnsatisfiable=DoNotSchedule",
         "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].key=a",
         "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].operator=Exists"],
        {"ConfigMap"},
    ),
}
# Value sets that must be refused, with words of the reason.
BAD = {
    "mode=daemonset": "ingestion=partitioned",
    "mode=statefulset,sharding.total=3": "ingestion=partitioned",
    "sharding.total=3": "mode=statefulset",
    "mode=daemonset,ingestion=partitioned,replicas=2": "replicas",
    "replicas=2,spool.persistence.enabled=true": "one claim",
    "spool.size=2Gi": "must be above spool.maxBytes",
    "credentials.source=aws": "s3.bucket",
    "credentials.source=static,s3.bucket=b,s3.region=r": "clusterId",
    "serviceAccount.create=false": "serviceAccount.name",
    "terminationGracePeriodSeconds=20": "terminationGracePeriodSeconds",
    "hostMetrics.enabled=true": "mode=daemonset",
    "mode=daemonset,ingestion=partitioned,hostMetrics.enabled=true,config=0.0.0.0:9598 /var/lib/agent/spool SPOOL_MAX_BYTES SHARD_NODE":
        "HOST_METRICS",
    "image.tagg=1": "tagg",
    "spool.maxBytes=2": "maxBytes",
    "credentials.cedana.url=api.cedana.ai": "url",
    "config=internal_metrics: true": "server.listen 0.0.0.0:9598",
    "replicas=2,config=0.0.0.0:9598 /var/lib/agent/spool SPOOL_MAX_BYTES": "LEADER_ELECTION",
    "mode=daemonset,ingestion=partitioned,config=0.0.0.0:9598 /var/lib/agent/spool SPOOL_MAX_BYTES": "SHARD_NODE",
    "mode=daemonset,ingestion=partitioned,config=0.0.0.0:9598 /var/lib/agent/spool SPOOL_MAX_BYTES SHARD_NODE": "KUBERNETES_EVENTS_ONLY",
}


def check(suite):
    """All of it."""
    checks = suite.checks
    code, text = suite.tool("helm", "lint", CHART, "--strict", "--kube-version", VERSION, ok=False)
    checks.that("helm lint finds nothing", code == 0, text)
    operator = install_crds(suite)
    refused = [why for thing in suite.base if (why := validate(suite, thing))]
    checks.none("the kustomize base is accepted strictly", refused)
    misspelt = copy.deepcopy(next(thing for thing in suite.base if thing["kind"] == "Deployment"))
    misspelt["spec"]["template"]["spec"]["terminationGracePeriodSecond"] = 40
    checks.that("a misspelt field is not", "terminationGracePeriodSecond" in (validate(suite, misspelt) or ""))
    checks.section("same result", same_result, suite)
    for name, (values, added) in GOOD.items():
        checks.section(f"values: {name}", accepted, suite, name, values, added, operator)
    for values, words in BAD.items():
        code, text = suite.tool("helm", "template", "x", CHART, "--kube-version", VERSION, "--set", values, ok=False)
        checks.that(f"refused: {values}", code != 0 and words in text, text[-400:])
    checks.section("network policy", network_ports, suite)
    checks.section("host metrics", host_paths, suite)
    checks.section("events", who_watches, suite)
    checks.section("alerts", alerts, suite)
    checks.section("install", install, suite)


def install_crds(suite):
    """The operator's own CRDs, if they are at hand."""
    folder = suite.options.crds
    if not folder:
        suite.say("NOT CHECKED: ServiceMonitor and PrometheusRule, for want of --crds")
        return False
    for name in ("servicemonitors", "prometheusrules"):
        thing = yaml.safe_load((folder / f"monitoring.coreos.com_{name}.yaml").read_text("utf-8"))
        suite.api.apply(thing)
    from processes import wait_for

    def served():
        try:
            suite.api.get("/apis/monitoring.coreos.com/v1/namespaces/x/prometheusrules")
            return True
        except Refused:
            return False

    wait_for("the CRDs to be served", served, 30)
    return True


def validate(suite, thing):
    """Why the API server would not take an object; None if it would."""
    try:
        suite.api.apply(thing, dry_run=True)
        return None
    except Refused as why:
        return f"{thing['kind']} {thing['metadata']['name']}: {why}"


def rendered(suite, values, **more):
    """The chart's objects with these values."""
    words = ["--kube-version", VERSION]
    for value in values:
        words += ["--set-string" if value.startswith(("podAnnotations", "config=")) else "--set", value]
    return suite.helm(*words, **more)


def accepted(suite, name, values, added, operator):
    """The API server takes all objects, and they are of the kinds they should be."""
    checks, things = suite.checks, rendered(suite, values)
    shown = [t for t in things if operator or t["kind"] not in ("ServiceMonitor", "PrometheusRule")]
    checks.none(f"{name}: accepted strictly", [why for thing in shown if (why := validate(suite, thing))])
    workload = added & {"StatefulSet", "DaemonSet"} or {"Deployment"}
    expected = {"ServiceAccount", "ClusterRole", "ClusterRoleBinding"} | workload | added
    checks.equal(f"{name}: the kinds of objects", {t["kind"] for t in things}, expected)
    privileged = []
    for thing in [t for t in things if t["kind"] in workload | {"Deployment"}]:
        pod = thing["spec"]["template"]["spec"]
        container = pod["containers"][0]
        security = container["securityContext"]
        good = (security["capabilities"] == {"drop": ["ALL"]} and security["readOnlyRootFilesystem"]
                and not security["allowPrivilegeEscalation"] and pod["securityContext"]["runAsNonRoot"])
        privileged += [] if good else [container]
    checks.none(f"{name}: no privileges", privileged)
    checks.none(f"{name}: no object holds a secret", [t["kind"] for t in things if t["kind"] == "Secret"])


def same_result(suite):
    """The chart's defaults and the kustomize base are the same objects, apart from the labels that helm gives."""
    chart = {}
    for thing in rendered(suite, []):
        plain = copy.deepcopy(thing)
        labels = plain["metadata"]["labels"]
        plain["metadata"]["labels"] = {name: value for name, value in labels.items() if name not in HELM_LABELS}
        # Names of the cluster's own objects have no namespace; kustomize gives the others one.
        chart[thing["kind"], thing["metadata"]["name"]] = plain
    base = {(t["kind"], t["metadata"]["name"]): t for t in suite.base}
    suite.checks.equal("chart and base have the same objects", sorted(chart), sorted(base))
    for key in sorted(chart.keys() & base.keys()):
        suite.checks.equal(f"chart and base agree: {' '.join(key)}", chart[key], base[key])


def network_ports(suite):
    """The policy lets through the ports of the built-in jobs, as the agent itself discovers them, and no others."""
    policy = next(t for t in rendered(suite, ["networkPolicy.enabled=true"]) if t["kind"] == "NetworkPolicy")["spec"]
    allowed = {port["port"] for rule in policy["egress"] for port in rule["ports"]}
    values = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))["networkPolicy"]
    jobs = {endpoint.port for endpoint in suite.stand_ins.endpoints}
    suite.checks.equal("the policy's ports are those of the jobs, DNS, API server and 443", allowed, jobs | {53, 443, 6443})
    suite.checks.equal("the ports of the jobs are values", {*values["scrapePorts"], values["kubeletPort"]}, jobs)
    suite.checks.equal("ingress only to the port of probes and metrics",
                       [port["port"] for rule in policy["ingress"] for port in rule["ports"]], [9598])


def host_paths(suite):
    """With hostMetrics, and only then, the host is mounted: read-only, where the built-in configuration looks for it."""
    def mounts(*values):
        things = rendered(suite, ["mode=daemonset", "ingestion=partitioned", *values])
        pod = next(t for t in things if t["kind"] == "DaemonSet")["spec"]["template"]["spec"]
        paths = {volume["name"]: volume["hostPath"]["path"] for volume in pod["volumes"] if "hostPath" in volume}
        found = {m["mountPath"]: paths[m["name"]] for m in pod["containers"][0]["volumeMounts"] if m["name"] in paths and m["readOnly"]}
        on = any(one["name"] == "HOST_METRICS" and one["value"] == "true" for one in pod["containers"][0]["env"])
        return found, on, len(paths), pod.get("hostNetwork", False) or pod.get("hostPID", False)

    built_in = yaml.safe_load((DEPLOY.parent / "agent" / "src" / "config" / "kubernetes.yaml").read_text("utf-8"))["host_metrics"]
    expected = {built_in["procfs"]: "/proc", built_in["sysfs"]: "/sys", built_in["rootfs"]: "/"}
    suite.checks.equal("host metrics: the host is mounted where it is looked for", mounts("hostMetrics.enabled=true"),
                       (expected, True, 3, False))
    suite.checks.equal("without host metrics nothing of the host is mounted", mounts(), ({}, False, 0, False))


def who_watches(suite):
    """One agent of all is told to watch events, and may; who looks for the agents of the nodes does not find it."""
    def agents(*values):
        things = rendered(suite, values)
        env = {}
        for thing in [t for t in things if t["kind"] in ("Deployment", "StatefulSet", "DaemonSet")]:
            given = {one["name"]: one.get("value") for one in thing["spec"]["template"]["spec"]["containers"][0]["env"]}
            env[thing["kind"]] = (given.get("KUBERNETES_EVENTS"), given.get("KUBERNETES_EVENTS_ONLY"), "SHARD_NODE" in given)
        rules = next(t for t in things if t["kind"] == "ClusterRole")["rules"]
        verbs = [rule["verbs"] for rule in rules if rule["resources"] == ["events"] and rule["apiGroups"] == ["events.k8s.io"]]
        return things, env, verbs

    checks, nodes, allowed = suite.checks, ["mode=daemonset", "ingestion=partitioned"], [["list", "watch"]]
    checks.equal("events: by default they are watched", agents()[1:], ({"Deployment": (None, None, False)}, allowed))
    checks.equal("events: not where they are not wanted", agents("kubernetesEvents.enabled=false")[1:],
                 ({"Deployment": ("false", None, False)}, []))
    things, env, verbs = agents(*nodes, "networkPolicy.enabled=true", "monitoring.serviceMonitor.enabled=true", "hostMetrics.enabled=true")
    checks.equal("events: of a DaemonSet's none watches, and one more does nothing else", (env, verbs),
                 ({"DaemonSet": ("false", None, True), "Deployment": ("true", "true", False)}, allowed))
    checks.equal("events: without them there is no other", agents(*nodes, "kubernetesEvents.enabled=false")[1],
                 {"DaemonSet": ("false", None, True)})
    by_kind = {kind: [t for t in things if t["kind"] == kind] for kind in ("DaemonSet", "Deployment", "Service", "ServiceMonitor")}
    labels = {kind: by_kind[kind][0]["spec"]["template"]["metadata"]["labels"] for kind in ("DaemonSet", "Deployment")}
    finds = lambda selector, kind: selector.items() <= labels[kind].items()
    selectors = {kind: by_kind[kind][0]["spec"]["selector"]["matchLabels"] for kind in labels}
    checks.equal("events: each finds its own pods only", [(one, other, finds(selectors[one], other)) for one in labels for other in labels],
                 [(one, other, one == other) for one in labels for other in labels])
    found = [kind for service in by_kind["Service"] for kind in labels if finds(service["spec"]["selector"], kind)]
    checks.equal("events: each agent is behind a service", sorted(found), ["DaemonSet", "Deployment"])
    wanted = by_kind["ServiceMonitor"][0]["spec"]["selector"]["matchLabels"].items()
    checks.none("events: and each service is looked at", [s["metadata"]["name"] for s in by_kind["Service"] if not wanted <= s["metadata"]["labels"].items()])
    policy = next(t for t in things if t["kind"] == "NetworkPolicy")["spec"]["podSelector"]
    names = {name for one in policy["matchExpressions"] for name in one["values"]}
    checks.equal("events: the network policy holds for both", names, {of["app.kubernetes.io/name"] for of in labels.values()})
    mounts = by_kind["Deployment"][0]["spec"]["template"]["spec"]["volumes"]
    checks.none("events: who only watches sees nothing of the host", [volume["name"] for volume in mounts if "hostPath" in volume])


def alerts(suite):
    """Every metric that an alert names is one that the agent has, and Prometheus can read the rules."""
    rules = CHART / "rules" / "alerts.yaml"
    code, text = suite.tool("judge", "rules", rules, ok=False)
    suite.checks.that("Prometheus reads the alert rules", code == 0, text)
    named = set(re.findall(r"\bagent_[a-z_]+", " ".join(
        rule["expr"] for group in yaml.safe_load(rules.read_text("utf-8"))["groups"] for rule in group["rules"]
    )))
    sources = DEPLOY.parent
    known = set()
    for file in [p for crate in ("agent", "pipeline", "sinks") for p in (sources / crate / "src").rglob("*.rs")]:
        known |= set(re.findall(r'"(agent_[a-z_]+)"', file.read_text("utf-8")))
    suite.checks.none("every metric in an alert exists", named - known)


def install(suite):
    """`helm install` on the real API server, what its notes say, and `helm uninstall`, which leaves nothing behind."""
    checks = suite.checks
    config = suite.work / "kubeconfig"
    config.write_text(json.dumps({
        "apiVersion": "v1", "kind": "Config", "current-context": "x",
        "clusters": [{"name": "x", "cluster": {
            "server": f"https://{suite.api.host}:{suite.api.port}",
            "certificate-authority-data": base64.b64encode(suite.cluster.ca.cert.read_bytes()).decode(),
        }}],
        "users": [{"name": "x", "user": {"token": suite.api.token}}],
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
    }), "ascii")
    suite.cluster.namespace("second")
    where = ["--namespace", "second", "--kubeconfig", config]
    code, text = suite.tool("helm", "install", "trial", CHART, *where, "--set", "replicas=2", ok=False)
    checks.that("helm install", code == 0, text[-1500:])
    for words in ("SHOW CREATE TABLE", "prefixSuffix", "/agent doctor", "insecureSkipVerify", "exactly one agent may write"):
        checks.that(f"the notes say: {words}", words in text, text[-3000:])
    made = suite.api.get("/apis/apps/v1/namespaces/second/deployments")["items"]
    checks.equal("the release made its deployment", [t["metadata"]["name"] for t in made], ["trial-cedana-agent"])
    roles = {t["metadata"]["name"] for t in suite.api.get("/apis/rbac.authorization.k8s.io/v1/clusterroles")["items"]}
    checks.that("a second release has a ClusterRole of its own", "second-trial-cedana-agent" in roles, sorted(roles)[:5])
    code, text = suite.tool("helm", "upgrade", "trial", CHART, *where, "--set", "replicas=1", ok=False)
    checks.that("helm upgrade to one replica", code == 0 and "BEFORE THE FIRST" not in text, text[-1500:])
    code, text = suite.tool("helm", "uninstall", "trial", *where, ok=False)
    checks.that("helm uninstall", code == 0, text)
    left = [kind for kind, path in {
        "deployment": "/apis/apps/v1/namespaces/second/deployments",
        "role": "/apis/rbac.authorization.k8s.io/v1/namespaces/second/roles",
        "budget": "/apis/policy/v1/namespaces/second/poddisruptionbudgets",
        "secret": "/api/v1/namespaces/second/secrets",
    }.items() if suite.api.get(path)["items"]]
    checks.none("uninstalling leaves nothing in the namespace", left)
    checks.equal("the shipped deployment is still there", suite.api.get(f"/apis/apps/v1/namespaces/{MONITORING}/deployments")
                 ["items"][0]["metadata"]["name"], "cedana-agent")
