#!/usr/bin/env python3
"""The host as the agent reads it (`host_metrics`) beside the host as prometheus-node-exporter reads it.

The agent reads, the exporter is asked, the agent reads again. What both say is compared sample by sample: types are equal;
counters of the exporter lie between the agent's; what stands still is equal; what moves is within a stated distance. Of the
collectors that deploy/HOST_METRICS.md calls read, the agent lacks nothing but what that file names; every collector of the
exporter is in that file.

As root also: a file system that never answers costs only itself; and the agent in a container's namespaces, without privileges, sees
the host's network, mounts and name through what is mounted at /host.

    tests/real_parts/host.py --agent target/release/agent
"""

import argparse
import ctypes
import http.client
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import traceback

import yaml
from prometheus_client.parser import text_string_to_metric_families

from checks import Checks
from exporter import start_exporter

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "deploy" / "HOST_METRICS.md"
# The same for every sample of a target, or newer than the exporter.
LABELS_IGNORED = {"job", "instance", "node", "rotational", "adminstate"}
CONFIG = """host_metrics:
  enabled: true
  scrape_timeout: 10s
  filesystem: {mount_timeout: 1s}
%sinternal_metrics: false
sink: {file: {dir: unused}}
"""
# Binds the host as the chart does, and gives up all that a pod does not have.
CONTAINER = """set -e
for place in proc sys; do mount --rbind /$place {work}/$place; done
mount --rbind / {work}/root
mount -t proc proc /proc
hostname pod-1
exec setpriv --reuid 65532 --regid 65532 --clear-groups --bounding-set -all --inh-caps -all --no-new-privs {command}
"""
# Columns of the kernel's that may go back for a moment, since they are sums made while others count (proc(5)).
UNSTEADY = re.compile(r"node_cpu_(guest_)?seconds_total|node_pressure_.*")
UNSTEADY_SECONDS = 0.05
# Only grow, though nobody says so.
GROWING = re.compile(r"node_vmstat_.*|node_netstat_(?!Tcp_CurrEstab$|Ip_Forwarding$).*")
# What moves, and how far it may within the second between the two readings: a share of the value, and so much besides.
MOVING = (
    (r"node_memory_.*_bytes", 0.2, 512 << 20),
    (r"node_memory_HugePages_.*", 0, 0),
    (r"node_filesystem_(avail|free)_bytes", 0.02, 1 << 30),
    (r"node_filesystem_files_free", 0.02, 100_000),
    (r"node_load(1|5|15)", 0, 8),
    (r"node_procs_(running|blocked)|node_disk_io_now", 0, 100),
    (r"node_sockstat_.*_bytes", 0, 64 << 20),
    (r"node_sockstat_.*|node_netstat_Tcp_CurrEstab|node_arp_entries|node_nf_conntrack_(entries|stat_.*)", 0.2, 2_000),
    (r"node_udp_queues", 0, 16 << 20),
    (r"node_filefd_allocated", 0.2, 5_000),
    (r"node_entropy_available_bits", 0, 4096),
    (r"node_hwmon_.*|node_thermal_zone_temp|node_cooling_device_cur_state", 0.2, 10),
    (r"node_cpu_(scaling_)?frequency_hertz", 1.0, 5e9),
    (r"node_softnet_backlog_len", 0, 10_000),
)


class Reading:
    """Types by metric, and values by metric and labels."""

    def __init__(self, text):
        self.types, self.values = {}, {}
        for family in text_string_to_metric_families(text):
            # This parser names a counter's samples `x_total` even where the text says `x`.
            for sample in family.samples:
                if not sample.name.startswith("node_") or sample.name == "node_exporter_build_info":
                    continue
                self.types[sample.name] = family.type
                kept = {name: value for name, value in sample.labels.items() if value and name not in LABELS_IGNORED}
                key = (sample.name, tuple(sorted(kept.items())))
                if key in self.values:
                    raise ValueError(f"twice: {key}")
                self.values[key] = sample.value


def document():
    """The file's two tables: what the agent lacks of each collector that is read, and the collectors that are not read."""
    read, unread, table = {}, set(), None
    for line in DOCUMENT.read_text("utf-8").splitlines():
        table = line if line.startswith("## ") else table
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        name = re.fullmatch(r"`([a-z_0-9]+)`", cells[0])
        if not line.startswith("|") or not name:
            continue
        if table == "## Read":
            read[name[1]] = set(re.findall(r"`(node_\w+)`", cells[-1]))
        else:
            unread.add(name[1])
    return read, unread


def flags():
    """The exporter's flags that say what the agent's defaults are: Debian has others."""
    config = yaml.safe_load((ROOT / "deploy" / "config.yaml").read_text("utf-8"))["host_metrics"]
    found = []
    for collector in ("filesystem", "diskstats", "netdev", "netclass", "netstat", "vmstat"):
        for key, value in config[collector].items():
            if key != "mount_timeout":
                found.append(f"--collector.{collector}.{key.replace('_', '-')}={value}")
    return found


def ask(port, *collectors):
    """The exporter's exposition, of these collectors or of all."""
    query = "&".join(f"collect[]={name}" for name in collectors)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", f"/metrics?{query}")
    answer = connection.getresponse()
    text = answer.read().decode("utf-8")
    connection.close()
    if answer.status != 200:
        raise ValueError(f"the exporter answered {answer.status}: {text[:200]}")
    return text


def read(program, work, more="", inside=None):
    """The agent's reading; `inside` makes of its command one that runs it elsewhere."""
    config = work / "host.yaml"
    config.write_text(CONFIG % more, "ascii")
    command = [str(program), "--dry-run", "--format", "prometheus", "--config", str(config)]
    done = subprocess.run(
        inside(command) if inside else command, cwd=work, env={"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "NODE_NAME": "node-1"},
        capture_output=True, text=True, timeout=60, check=False,
    )
    if done.returncode:
        raise ValueError(done.stderr[-800:])
    return Reading(done.stdout)


def succeeded(reading):
    """The collectors that were asked, and whether each succeeded."""
    found = {}
    for (name, labels), value in reading.values.items():
        if name == "node_scrape_collector_success":
            found[dict(labels)["collector"]] = value == 1
    return found


def difference(name, kind, before, theirs, after):
    """Why three values of one sample do not agree; None if they do."""
    low, high = min(before, after), max(before, after)
    if name == "node_time_seconds" or kind == "counter" or GROWING.fullmatch(name):
        slack = UNSTEADY_SECONDS if UNSTEADY.fullmatch(name) else abs(theirs) * 1e-12 + 0.002 * (name == "node_time_seconds")
        return None if low - slack <= theirs <= high + slack else f"{theirs} is not between {before} and {after}"
    for pattern, share, more in MOVING:
        if re.fullmatch(pattern, name):
            slack = abs(theirs) * share + more
            return None if low - slack <= theirs <= high + slack else f"{theirs} is further than {slack} from {before}"
    same = abs(theirs - before) <= abs(theirs) * 1e-12
    return None if same else f"{theirs} is not {before}"


def compare(checks, before, theirs, after, known):
    """All that both say, and what the agent lacks of `known`, the samples of collectors that it reads."""
    shared = theirs.values.keys() & before.values.keys() & after.values.keys()
    shared = {key for key in shared if not key[0].startswith("node_scrape_")}
    print(f"--      {len(shared)} samples in both, {len(theirs.values)} of the exporter, {len(before.values)} of the agent")
    checks.that("host: most samples are in both", len(shared) > 150, len(shared))
    names = {name for name, _ in shared}
    checks.none("host: types agree", [(n, theirs.types[n], before.types[n]) for n in names if theirs.types[n] != before.types[n]])
    wrong = []
    for name, labels in sorted(shared):
        key = (name, labels)
        why = difference(name, theirs.types[name], before.values[key], theirs.values[key], after.values[key])
        if why:
            wrong.append(f"{name}{dict(labels)}: {why}")
    checks.none("host: values agree", wrong)
    missing = {collector: keys - before.values.keys() - after.values.keys() for collector, keys in known.items()}
    return {collector: keys for collector, keys in missing.items() if keys}


def run(checks, program, work):
    """The whole comparison."""
    documented, unread = document()
    exporter, port = start_exporter(work, "host-exporter", flags())
    try:
        # Both have read everything once.
        ask(port)
        before, theirs, after = read(program, work), Reading(ask(port)), read(program, work)
        own, others = succeeded(before), succeeded(theirs)
        checks.equal("host: the document names the collectors that are read", set(documented), set(own))
        checks.none("host: the document names every collector of the exporter", others.keys() - documented.keys() - unread)
        checks.none("host: what the exporter can read the agent can", [n for n in own if others.get(n) and not own[n]])
        known = {}
        for name in sorted(own):
            if others.get(name):
                keys = Reading(ask(port, name)).values
                known[name] = {key for key in keys if not key[0].startswith("node_scrape_")}
        for name, keys in compare(checks, before, theirs, after, known).items():
            left = [key for key in keys if key[0] not in documented[name]]
            checks.none(f"host: nothing undocumented is missing of {name}", left)
        beyond = {name for name, _ in before.values} - set(theirs.types)
        print(f"--      beyond the exporter's: {', '.join(sorted(beyond))}")
        print(f"--      collectors that found nothing here: {json.dumps(sorted(n for n in own if not own[n]))}")
    finally:
        exporter.stop()
    if os.geteuid() or not os.path.exists("/dev/fuse"):
        print("--      NOT CHECKED: a file system that hangs, and the agent in a container, for want of root or of /dev/fuse")
        return
    checks.section("host: hanging", hanging, checks, program, work)
    checks.section("host: container", container, checks, program)


def hanging(checks, program, work):
    """A FUSE file system that nobody serves: statvfs on it hangs, as on that of an NFS server that is away."""
    libc = ctypes.CDLL(None, use_errno=True)
    place = work / "hanging"
    place.mkdir(exist_ok=True)
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0"
    try:
        if libc.mount(b"server:/away", str(place).encode(), b"fuse", 0, options.encode()):
            raise OSError(ctypes.get_errno(), "cannot mount")
        reading = read(program, work)
    finally:
        libc.umount2(str(place).encode(), 2)
        os.close(device)
    errors = {dict(labels)["mountpoint"]: value for (name, labels), value in reading.values.items()
              if name == "node_filesystem_device_error"}
    checks.equal("host: a file system that hangs is an error", errors.get(str(place)), 1)
    checks.that("host: the others are not", any(value == 0 for value in errors.values()), errors)
    checks.none("host: nothing else is missing", [name for name in ("node_load1", "node_uname_info") if name not in reading.types])


def container(checks, program):
    """A pod: networks, processes, mounts and a name of its own, no privileges, and the host mounted as the chart mounts it."""
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        work.chmod(0o755)
        for name in ("proc", "sys", "root"):
            (work / name).mkdir()
        shutil.copy2(program, work / "agent")
        places = "".join(f"  {key}: {work}/{name}\n" for key, name in (("procfs", "proc"), ("sysfs", "sys"), ("rootfs", "root")))

        def inside(command):
            script = CONTAINER.format(work=work, command=shlex.join(command))
            return ["unshare", "--net", "--pid", "--fork", "--mount", "--uts", "--propagation", "private", "sh", "-c", script]

        outside, found = read(work / "agent", work), read(work / "agent", work, places, inside)

    def labels_of(reading, metric, label):
        return {dict(labels).get(label) for name, labels in reading.values if name == metric}

    checks.that("host: there is more than a loopback device", len(labels_of(outside, "node_network_up", "device")) > 1, outside.types)
    for metric, label in (("node_network_receive_bytes_total", "device"), ("node_network_up", "device"),
                          ("node_filesystem_size_bytes", "mountpoint"), ("node_disk_io_now", "device"), ("node_cpu_seconds_total", "cpu")):
        expected = labels_of(outside, metric, label)
        checks.that(f"host: in a container {metric} is the host's", labels_of(found, metric, label) == expected,
                    (labels_of(found, metric, label), expected))
    checks.equal("host: in a container the name is the node's", labels_of(found, "node_uname_info", "nodename"), {"node-1"})
    beside = [name for name, is_well in succeeded(outside).items() if is_well and not succeeded(found)[name]]
    checks.none("host: in a container every collector does what it does outside", beside)
    lost = {name for name, _ in outside.values} - {name for name, _ in found.values}
    checks.none("host: in a container no metric is missing", lost)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agent", type=pathlib.Path, default="target/release/agent", help="the agent's binary (%(default)s)")
    parser.add_argument("--work", type=pathlib.Path, default="target/real-parts-host",
                        help="folder for logs, emptied first (%(default)s)")
    options = parser.parse_args()
    work = options.work.resolve()
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    checks = Checks()
    try:
        run(checks, options.agent.resolve(), work)
    except Exception:  # whatever it was: said and counted
        traceback.print_exc(file=sys.stdout)
        checks.that("the comparison ran to its end", False, "see above")
    print(f"{checks.passed} passed, {checks.failed} failed", flush=True)
    return 1 if checks.failed else 0


if __name__ == "__main__":
    sys.exit(main())
