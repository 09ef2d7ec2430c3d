#!/usr/bin/env python3
"""The agent on a real control plane: etcd and kube-apiserver with RBAC, and nodes, pods and slices by the hundred.

What `kustomize build deploy/kubernetes` prints is applied, and the agent runs as its Deployment says: the static binary in an
empty root, without privileges, authenticated as its service account with exactly the ClusterRole that is shipped, with its
built-in configuration. Real node-exporters and stand-ins for kubelets and the other exporters count their scrapes; MinIO
takes the objects under Amazon's own names; Prometheus' discovery judges ours.

Everything runs in a network and a process namespace of its own, which ends with this program. Needs root. Exit code 0 when
every check passed.
"""

import argparse
import os
import pathlib
import shutil
import sys
import traceback

HERE = pathlib.Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "real_parts"))
INSIDE = "CONTROL_PLANE_SUITE_INSIDE"

SECTIONS = ("manifests", "production", "oracle", "troubles", "several", "scale", "events")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=pathlib.Path, required=True,
                        help="folder with etcd, kube-apiserver, kustomize, helm, cadvisor and judge, as build.sh makes it")
    parser.add_argument("--agent", type=pathlib.Path, required=True, help="the agent's binary, static")
    parser.add_argument("--minio", type=pathlib.Path, required=True, help="MinIO's binary")
    parser.add_argument("--crds", type=pathlib.Path, help="folder with the Prometheus operator's CRDs; without it they are not checked")
    parser.add_argument("--work", type=pathlib.Path, default="target/control-plane", help="folder for everything, emptied first (%(default)s)")
    parser.add_argument("--nodes", type=int, default=100, help="nodes (%(default)s)")
    parser.add_argument("--gpu-nodes", type=int, default=10, help="of these with GPUs (%(default)s)")
    parser.add_argument("--real-exporters", type=int, default=3, help="of these with a real node-exporter (%(default)s)")
    parser.add_argument("--pods", type=int, default=400, help="pods that nobody scrapes (%(default)s)")
    parser.add_argument("--many-pods", type=int, default=5000, help="pods of the measurement of memory (%(default)s)")
    parser.add_argument("--seconds", type=float, default=80, help="how long the production run takes (%(default)s)")
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections to run (%(default)s)")
    return parser.parse_args()


def enter():
    """Starts this program again inside namespaces of its own: what it starts ends with it, whatever happens."""
    os.environ[INSIDE] = "1"
    words = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private"]
    os.execvp("unshare", [*words, sys.executable, *sys.argv])


def network():
    """Makes 10.90.0.0/16 local, address by address, and a few addresses of the other family."""
    from pod import run

    run("ip", "link", "set", "lo", "up")
    run("ip", "addr", "add", "10.90.0.1/16", "dev", "lo")
    for last in range(1, 10):
        run("ip", "addr", "add", f"fd00:90::{last}/128", "dev", "lo")
    pathlib.Path("/run/netns").mkdir(exist_ok=True)
    run("mount", "-t", "tmpfs", "tmpfs", "/run/netns")


def suite(options, checks, closing):
    from suite import Suite

    options.agent, options.minio, options.bin = (p.resolve() for p in (options.agent, options.minio, options.bin))
    work = options.work.resolve()
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    network()
    world = Suite(options, checks, closing, work)
    for name in options.only.split(","):
        print(f"--      {name}", flush=True)
        module = __import__(name)
        checks.section(name, module.check, world)


def main():
    options = arguments()
    unknown = set(options.only.split(",")) - set(SECTIONS)
    if unknown:
        sys.exit(f"no such section: {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    if os.environ.get(INSIDE) != "1":
        enter()
    from checks import Checks

    checks, closing = Checks(), []
    try:
        suite(options, checks, closing)
    except Exception:  # whatever it was: said and counted
        traceback.print_exc(file=sys.stdout)
        checks.that("the suite ran to its end", False, "see above")
    finally:
        for close in reversed(closing):
            try:
                close()
            except Exception:
                traceback.print_exc(file=sys.stdout)
                checks.that("everything started was stopped", False, "see above")
    print(f"{checks.passed} passed, {checks.failed} failed", flush=True)
    return 1 if checks.failed else 0


if __name__ == "__main__":
    sys.exit(main())
