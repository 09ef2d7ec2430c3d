"""The files for a cluster, as far as one embedded engine can execute them: replicated tables are made, but for what a server would
have to tell the others; the road through distributed tables is taken whole, on a cluster of one shard."""

import cluster_file
import questions
from deployed import FOLDER, Deployed

CLUSTER = "alone"


class OneServer(Deployed):
    """The database of cluster.sql without ON CLUSTER, which needs a server."""

    def __init__(self, suite, database):
        super().__init__(suite, database, database)
        self._parameters["METRICS_CLUSTER"] = CLUSTER

    def text(self, name, **more):
        return super().text(name, **more).replace(f"ON CLUSTER '{CLUSTER}'", "")


class OneReplica(OneServer):
    """The same without replication: a replicated table takes no row while no other server could ask for it."""

    def text(self, name, **more):
        text = super().text(name, **more).replace("ENGINE = Replicated", "ENGINE = ")
        return text.replace("replicated_deduplication", "non_replicated_deduplication")


def check(suite):
    """Runs the scenario and judges it."""
    checks = suite.checks
    for name, text in cluster_file.files().items():
        checks.that(f"cluster: {name} is what cluster_file.py makes", (FOLDER / name).read_text("utf-8") == text, "run it again")
    replicated = OneServer(suite, "replicated")
    replicated.run("cluster.sql")
    replicated.run("cluster.sql")
    rows = replicated.query("SELECT name FROM system.tables WHERE database = 'replicated' AND engine LIKE 'Replicated%' ORDER BY name")
    checks.equal("cluster: every table of a shard is replicated", [row["name"] for row in rows],
                 sorted(f"{name}_local" for name in cluster_file.SHARDED))
    replicated.run("cluster_remove.sql")
    checks.equal("cluster: nothing is left of them", replicated.query("SHOW TABLES FROM replicated"), [])
    tables = OneReplica(suite, "spread")
    tables.run("cluster.sql")
    tables.query("SET distributed_foreground_insert = 1")
    questions.ask(checks, "cluster", tables)
    rows = tables.query("SELECT count() AS rows FROM samples_local FINAL")
    checks.equal("cluster: what landed went through the shards", int(rows[0]["rows"]), tables.number("(SELECT count() FROM samples FINAL)"))
    tables.run("cluster_remove.sql")
    checks.equal("cluster: nothing is left", tables.query("SHOW TABLES FROM spread"), [])
