"""What goes wrong in a cluster: a permission is missing, the API server is away, a token is replaced, a kubelet is self-signed."""

import copy
import json
import time

from cluster import Ca
from fleet import node_address
from processes import wait_for
from production import found

# What is taken away from the ClusterRole: (resource, verb), what the error must name, and the job that suffers.
TAKEN = [
    ("nodes", "list", ["list nodes", "cadvisor"]),
    ("endpointslices", "watch", ["watch endpointslices.discovery.k8s.io in namespace cedana-monitoring", "[list, watch]"]),
    ("services", "list", ["list services in namespace cedana-monitoring"]),
    ("events", "watch", ["watch events.events.k8s.io"]),
]


def check(suite):
    """One pod after the other, each with its trouble."""
    checks = suite.checks
    checks.section("permissions", permissions, suite)
    checks.section("kubelet permission", kubelet_permission, suite)
    checks.section("self-signed kubelet", self_signed, suite)
    checks.section("doctor", doctor, suite)
    checks.section("API server away", away, suite)
    for endpoint in suite.stand_ins.endpoints:
        endpoint.answered.clear()


def role_without(suite, resource, verb):
    """The shipped ClusterRole without one verb of one resource."""
    role = copy.deepcopy(next(thing for thing in suite.base if thing["kind"] == "ClusterRole"))
    rules = []
    for rule in role["rules"]:
        for one in rule["resources"]:
            verbs = [v for v in rule["verbs"] if (one, v) != (resource, verb)]
            if verbs:
                rules.append({**rule, "resources": [one], "verbs": verbs})
    return {**role, "rules": rules}


def restore(suite):
    """The shipped ClusterRole again."""
    suite.api.apply(next(thing for thing in suite.base if thing["kind"] == "ClusterRole"))


def permissions(suite):
    """Take one verb away: the log and doctor name it, other jobs go on, and giving it back is enough."""
    checks = suite.checks
    for number, (resource, verb, words) in enumerate(TAKEN):
        suite.api.apply(role_without(suite, resource, verb))
        name = f"without {verb} {resource}"
        pod = suite.pod(suite.base, f"forbidden-{number}")
        try:
            pod.start()
            rule = f'resources: [{resource}]'
            wait_for(f"{name}: the log to say so", lambda: words[0] in pod.log() and rule in pod.log(), 20)
            checks.that(f"{name}: the log names verb, resource, namespace and rule", True)
            code, out, err = pod.command("doctor", seconds=90)
            checks.that(f"{name}: doctor fails and names it", code == 1 and words[0] in out and rule in out, out + err)
            if resource == "nodes":
                others = {key for key in suite.fleet.expected() if key[0] != "cadvisor"}
                wait_for("the other jobs' targets", lambda: found(pod) == others, 20)
                checks.that(f"{name}: the other jobs go on", True)
            said = pod.log().count(words[0])
            suite.api.apply(next(thing for thing in suite.base if thing["kind"] == "ClusterRole"))
            began = time.monotonic()
            wait_for("all targets after the rule was added", lambda: found(pod) == set(suite.fleet.expected()), 90, 0.2)
            if resource == "events":
                wait_for("the watch of events to go on", lambda: "can be looked at again" in pod.log(), 90, 0.2)
            suite.say(f"{name}: recovered {time.monotonic() - began:.1f} s after the rule was added, said {said} times")
            checks.that(f"{name}: it recovers without a restart", True)
        finally:
            restore(suite)
            pod.close()


def kubelet_permission(suite):
    """Without `get nodes/metrics` the kubelets refuse; the scrape's error says so, and doctor names the rule."""
    checks = suite.checks
    suite.api.apply(role_without(suite, "nodes/metrics", "get"))
    pod = suite.pod(suite.base, "no-metrics")
    try:
        pod.prepare()
        code, out, err = pod.command("doctor", seconds=90)
        checks.that("without get nodes/metrics: doctor fails and names the rule", code == 1 and "nodes/metrics" in out, out + err)
    finally:
        restore(suite)
        pod.close()
    refused = [e for e in suite.stand_ins.by("cadvisor") if any(status == 403 for _, status in e.refused)]
    checks.that("the kubelets' refusals were real", bool(refused))


def self_signed(suite):
    """A kubelet with a certificate of its own: refused with the one value that relaxes it, which then works."""
    checks, fleet = suite.checks, suite.fleet
    index = suite.options.nodes + 20
    other = Ca(suite.work / "pki-self", "self-signed")
    fleet.add_node(index, tls=other.issue("kubelet", [f"IP:{node_address(index)}"]))
    instance = f"{node_address(index)}:10250"
    pod = suite.pod(suite.base, "self-signed")
    try:
        code, out = scrape_one(pod, instance)
        wanted = ("KUBELET_INSECURE_SKIP_VERIFY", "insecure_skip_verify", "insecureSkipVerify")
        checks.that("a self-signed kubelet is refused, and the value that relaxes it named", code == 1 and any(w in out for w in wanted), out[-1500:])
        relaxed = suite.helm("--set", "kubelet.insecureSkipVerify=true")
        code, out = scrape_one(suite.pod(relaxed, "relaxed"), instance)
        checks.that("with that value it is scraped", instance not in [line for line in out.splitlines() if "down" in line] and code == 0, out[-1500:])
    finally:
        pod.close()
        fleet.remove_node(index)


def scrape_one(pod, _instance):
    """`agent --dry-run` in the pod: exit code, and what it says of the targets."""
    pod.prepare()
    code, _, err = pod.command("--dry-run", seconds=120)
    return code, err


def doctor(suite):
    """All is well: exit code 0, and nothing is left in the bucket."""
    checks = suite.checks
    before = suite.present()
    pod = suite.pod(suite.base, "well")
    try:
        pod.prepare()
        code, out, err = pod.command("doctor", seconds=90)
        checks.that("doctor finds all well in the shipped deployment", code == 0, out + err)
        for word in ("credentials", "clock", "write", "dns", "cadvisor", "node-exporter", "SHOW CREATE TABLE"):
            checks.that(f"doctor speaks of: {word}", word in out, out)
        left = suite.present() - before
        checks.none("doctor leaves nothing that sorts above a digit", [key for key in left if "/0000000000/" not in key])
        checks.none("no secret in what doctor prints", [s for s in suite.outside.cedana.secrets() if s in out + err])
        # From a laptop, with the file that the chart would mount: the same commands, another way to the server.
    finally:
        pod.close()


def away(suite):
    """The API server stops: the targets stay and are scraped; it comes back: changes are seen. The token was replaced meanwhile."""
    checks, fleet = suite.checks, suite.fleet
    pod = suite.pod(suite.base, "away")
    pod.start()
    expected = set(fleet.expected())
    wait_for("all targets", lambda: found(pod) == expected, 30, 0.2)
    # The old token dies with the object it is bound to; the new one is in the same place.
    suite.api.delete(pod.object, grace=0)
    pod.create()
    pod.renew_token()
    suite.cluster.stop_server()
    began = time.time()
    wait_for("the log to say that the API server is away", lambda: "does not answer" in pod.log(), 30)
    checks.that("an absent API server is said", True)
    time.sleep(20)
    checks.equal("its targets are kept", found(pod), expected)
    scraped = [e for e in suite.stand_ins.by("node-exporter") if any(t > began + 2 for t in e.answered)]
    checks.equal("and scraped", len(scraped), len(suite.stand_ins.by("node-exporter")) - gone(suite, "node-exporter"))
    checks.that("it says so seldom", pod.log().count("does not answer") < 40, pod.log().count("does not answer"))
    suite.cluster.start_server()
    fleet.add_node(suite.options.nodes + 30)
    since = time.monotonic()
    wait_for("the new node", lambda: found(pod) == set(fleet.expected()), 90, 0.1)
    suite.say(f"a change reached the targets {time.monotonic() - since:.1f} s after the API server's return, with a new token")
    checks.that("it recovers with the new token", True)
    code, _ = pod.stop()
    checks.equal("SIGTERM ends it with exit code 0", code, 0)
    fleet.remove_node(suite.options.nodes + 30)
    errors = [json.loads(line) for line in pod.log().splitlines() if line.startswith("{")]
    checks.none("no secret in its log", [s for s in [*suite.outside.cedana.secrets(), suite.api.token] if s in pod.log()])
    suite.say(f"{len(errors)} lines of log, {sum(e['level'] == 'WARN' for e in errors)} of them warnings")


def gone(suite, job):
    """Endpoints of a job that ended before."""
    return sum(1 for e in suite.stand_ins.by(job) if getattr(e, "gone", None))
