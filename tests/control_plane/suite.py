"""What all sections share: the cluster with its fleet, the world outside, the shipped manifests, and pods of the agent."""

import pathlib
import subprocess
import time

import yaml

from cluster import Cluster
from fleet import MONITORING, Fleet
from outside import Outside
from pod import Pod
from processes import Failure
from stand_ins import StandIns

DEPLOY = pathlib.Path(__file__).resolve().parents[2] / "deploy"
# The intervals of the built-in jobs, seconds.
INTERVALS = {"node-exporter": 15, "kube-state-metrics": 15, "dcgm": 15, "cadvisor": 60, "event-exporter": 30}


class Suite:
    """Built once; the sections use it one after the other."""

    def __init__(self, options, checks, closing, work):
        self.options, self.checks, self.work, self.closing = options, checks, work, closing
        self.cluster = Cluster(options.bin, work)
        closing.append(self.cluster.close)
        self.api = self.cluster.api
        self.say(f"kube-apiserver {self.cluster.version()}, {options.nodes} nodes, {options.pods} pods")
        self.stand_ins = StandIns()
        closing.append(self.stand_ins.close)
        began = time.monotonic()
        self.fleet = Fleet(self.cluster, self.stand_ins, work, options)
        closing.append(self.fleet.close)
        self.fleet.populate()
        self.say(f"populated in {time.monotonic() - began:.1f} s")
        # Longer than the run: rotation of credentials is the other suite's matter.
        self.outside = Outside(options.minio, work, 3600)
        closing.append(self.outside.close)
        self.api.create(self.outside.secret(MONITORING))
        # Manifests are applied before anything else, as a user would; the section `manifests` looks at them closely.
        self.base = self.kustomize(DEPLOY / "kubernetes")
        for thing in self.base:
            self.api.apply(thing)

    def say(self, text):
        """A line that is no check."""
        print(f"--      {text}", flush=True)

    def tool(self, name, *arguments, ok=True):
        """The output of one of the Go tools; with `ok=False` its exit code and all it printed."""
        done = subprocess.run(
            [str(self.options.bin / name), *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False,
            env={"PATH": "/usr/bin:/bin", "HOME": str(self.work)},
        )
        if not ok:
            return done.returncode, done.stdout + done.stderr
        if done.returncode:
            raise Failure(f"{name} {arguments[0]}: {done.stderr[-2000:]}")
        return done.stdout

    def kustomize(self, folder):
        """The objects of a kustomization."""
        return [thing for thing in yaml.safe_load_all(self.tool("kustomize", "build", folder)) if thing]

    def helm(self, *values, release="cedana-agent", namespace=MONITORING):
        """The objects of the chart; `values` are words such as `--set x=y`."""
        text = self.tool("helm", "template", release, DEPLOY / "helm" / "cedana-agent", "--namespace", namespace, *values)
        return [thing for thing in yaml.safe_load_all(text) if thing]

    def pod(self, things, name, workload=None, **more):
        """A pod of the one workload among these objects, or of the one of that name, not started."""
        workloads = [t for t in things if t["kind"] in ("Deployment", "StatefulSet", "DaemonSet")]
        template = next(t for t in workloads if workload in (None, t["metadata"]["name"]))["spec"]["template"]
        made = Pod(
            self.cluster, template, name, self.work, self.options.agent,
            hosts=self.outside.hosts, authorities=self.outside.ca.cert, **more,
        )
        self.closing.append(made.close)
        return made

    def present(self):
        """The keys in the bucket now, so that a section can look at its own only."""
        return {entry["Key"] for entry in self.outside.s3.objects()}
