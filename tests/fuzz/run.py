#!/usr/bin/env python3
"""Runs every fuzz target for a while, each from its kept corpus; what they check is written beside the code they check.

    tests/fuzz/run.py                    30 seconds each, two at a time
    tests/fuzz/run.py --seconds 600 watch spool
    tests/fuzz/run.py --minimise         makes the kept corpora anew of what was found, a few dozen inputs each

Needs stable Rust and a C++ compiler. Prints executions, coverage and memory of each target. The first input that breaks
something fails the run: its path and the command that repeats it are printed, and it belongs into the kept corpus, which
`cargo test` reads too.
"""

import argparse
import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).absolute()
WORK = TARGET / "fuzz"

# Every target, with the longest input that is worth its time, bytes.
TARGETS = {
    "exposition": 4096,
    "relabel": 1024,
    "lists": 4096,
    "watch": 8192,
    "kube_events": 8192,
    "host": 4096,
    "journal": 4096,
    "selector": 512,
    "vector": 4096,
    "spool": 4096,
    "grant": 2048,
    "answer": 4096,
    "configuration": 8192,
    "migration": 8192,
}

# One input may take this long and this much.
INPUT_SECONDS = 20
MEMORY_MB = 1024
INPUTS_KEPT_MAX = 60

# What libFuzzer says at the end: executions, edges, features, new inputs, MiB at most.
FIGURES = (r"stat::number_of_executed_units:\s*(\d+)", r" cov: (\d+)", r" ft: (\d+)", r"stat::new_units_added:\s*(\d+)",
           r"stat::peak_rss_mb:\s*(\d+)")


def build():
    """The program, with counters in the crates of this workspace and the others' as the release build has them."""
    environment = {**os.environ, "RUSTC_WORKSPACE_WRAPPER": str(HERE / "instrument")}
    command = ["cargo", "build", "--locked", "--release", "--package", "fuzz"]
    subprocess.run(command, cwd=ROOT, env=environment, check=True)
    program = WORK / "fuzz"
    WORK.mkdir(parents=True, exist_ok=True)
    # An ordinary build would put its own program in the same place.
    shutil.copy2(TARGET / "release" / "fuzz", program)
    return program


def arguments(name):
    found = [f"-timeout={INPUT_SECONDS}", f"-rss_limit_mb={MEMORY_MB}", f"-max_len={TARGETS[name]}"]
    words = HERE / "words" / name
    return found + ([f"-dict={words}"] if words.exists() else [])


def number(pattern, text):
    found = re.findall(pattern, text)
    return int(found[-1]) if found else 0


def run(program, name, seconds):
    """Runs one target; a line for people, and whether it held."""
    corpus, crashes = WORK / "corpus" / name, WORK / "crashes"
    corpus.mkdir(parents=True, exist_ok=True)
    crashes.mkdir(parents=True, exist_ok=True)
    log = WORK / f"{name}.log"
    last = ["-ignore_remaining_args=1", name]
    command = [program, corpus, HERE / "corpus" / name, f"-max_total_time={seconds}", "-print_final_stats=1",
               f"-artifact_prefix={crashes}/{name}-", *arguments(name), *last]
    with open(log, "wb") as out:
        try:
            code = subprocess.run(command, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                  timeout=seconds + 120).returncode
        except subprocess.TimeoutExpired:
            code = "no end"
    text = log.read_text(errors="replace")
    runs, edges, features, new, memory = (number(pattern, text) for pattern in FIGURES)
    figures = f"{runs:>10} executions {edges:>6} edges {features:>6} features {new:>5} new inputs {memory:>4} MiB"
    if code == 0:
        return True, f"{name:<14}{figures}"
    print(text[-6000:], file=sys.stderr)
    written = re.findall(r"Test unit written to (\S+)", text)
    repeat = " ".join(map(str, [program, *(written or ["INPUT"]), *last]))
    return False, f"{name:<14}{figures}\n  FAILED ({code}): {' '.join(written) or 'no input'}\n  again: {repeat}"


def minimise(program, name):
    """Keeps the smallest set of inputs that covers what all found ones do."""
    kept, found = HERE / "corpus" / name, WORK / "corpus" / name
    with tempfile.TemporaryDirectory(dir=WORK) as new:
        sources = [path for path in (kept, found) if path.exists()]
        command = [program, "-set_cover_merge=1", *arguments(name), new, *sources, "-ignore_remaining_args=1", name]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        inputs = sorted(pathlib.Path(new).iterdir(), key=lambda path: path.stat().st_size)
        # What has a name was put there by people, for a reason.
        named = [path for path in kept.iterdir() if not re.fullmatch(r"[0-9a-f]{40}", path.name)]
        for path in set(kept.iterdir()) - set(named):
            path.unlink()
        contents = {path.read_bytes() for path in named}
        for path in inputs:
            if len(contents) < INPUTS_KEPT_MAX and path.read_bytes() not in contents:
                contents.add(path.read_bytes())
                shutil.copy(path, kept / path.name)
    return f"{name:<14}{len(contents):>4} inputs, {sum(map(len, contents))} bytes"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"one of {', '.join(TARGETS)}")
    parser.add_argument("--seconds", type=int, default=30, help="of each target (%(default)s)")
    parser.add_argument("--jobs", type=int, default=2, help="at a time (%(default)s)")
    parser.add_argument("--minimise", action="store_true", help="make the kept corpora anew, run nothing else")
    options = parser.parse_args()
    unknown = set(options.targets) - set(TARGETS)
    if unknown:
        parser.error(f"no target {', '.join(unknown)}")
    targets = options.targets or list(TARGETS)
    program = build()
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        if options.minimise:
            for line in pool.map(lambda name: minimise(program, name), targets):
                print(line, flush=True)
            return 0
        failed = 0
        for good, line in pool.map(lambda name: run(program, name, options.seconds), targets):
            print(line, flush=True)
            failed += not good
    print(f"{len(targets) - failed} of {len(targets)} targets held for {options.seconds} s each")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
