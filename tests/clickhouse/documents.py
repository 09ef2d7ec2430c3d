"""Every SQL file and every query that the documents have, executed as it stands there: commands by a shell, on tables made by the
README's own command.

Where else each has its truth: tables, check, backfill, promote, promql, minutes and cut_over in `deployed`, events and its question in `events`,
host_metrics in `host_metrics`, the other questions in `questions`, cluster and cluster_remove in `cluster`, MIGRATION.md in `migration`.
"""

import re
import time

import events
from deployed import FOLDER
from processes import wait_for
from s3_server import BUCKET, PREFIX
from shell import TOP, Shell, commands

SUFFIX = "documents"
DOCUMENTS = ("README.md", "deploy/TROUBLESHOOTING.md", "deploy/SIZING.md", "deploy/HOST_METRICS.md", "deploy/GUARANTEES.md",
             "deploy/stack/README.md", "deploy/grafana/PANELS.md", "deploy/helm/cedana-agent/templates/NOTES.txt")
# In which order the commands at the heads of the files make sense. The two for a cluster need several servers; `cluster` executes
# what is in them.
HEADS = ("tables", "events", "promql", "host_metrics", "cut_over", "check", "backfill", "minutes", "promote", "remove")
OF_A_CLUSTER = {"cluster.sql", "cluster_remove.sql"}
# A command at the head of a file, without the parameters that `...` stands for.
COMMAND = re.compile(r"(?:[A-Z_]+=(?:'[^']*'|\"[^\"]*\"|\S*)[ \n]+|\.\.\. )*envsubst < deploy/clickhouse/\S+ \| clickhouse-client[^\n]*")
SQL = re.compile(r"`((?:SELECT|SHOW|INSERT|ALTER|DROP|SYSTEM|CREATE)\b[^`]*)`")
VIEWED = re.compile(r"^\| `(\w+)(\(.*\))?` \|", re.MULTILINE)
TIMES = "from = now() - INTERVAL 1 HOUR, to = now()"
ARGUMENTS = {"growth": TIMES, "growth_between": f"metrics = ['up'], {TIMES}, step = 60", "values_between": f"metrics = ['up'], {TIMES}, step = 60"}


def check(suite):
    """Runs everything that is written."""
    checks, (key, secret) = suite.checks, suite.s3.root
    words = {"https://BUCKET.s3.REGION.amazonaws.com/PREFIX": f"{suite.s3.url}/{BUCKET}/{PREFIX}/{SUFFIX}", "METRICS_KEY=...": f"METRICS_KEY={key}",
             "METRICS_SECRET=...": f"METRICS_SECRET={secret}", "/s3queue/metrics": "/s3queue/documents"}
    shell = Shell(suite, suite.work / "documents", {}, words)
    suite.closing.append(shell.close)
    engine, executed = suite.engine, set()

    def run(where, command):
        executed.update(re.findall(r"deploy/clickhouse/(\S+\.sql)", command))
        done = shell.run(command)
        text = " ".join(command.split())
        checks.that(f"documents: {where}: {text if len(text) < 110 else '... ' + text[-105:]}", done.code == 0, done.output + done.errors)

    asked = {document: [one for one in commands(document) if "clickhouse-client" in one] for document in DOCUMENTS}
    made, questions = asked.pop("README.md")
    checks.none("documents: no other document has commands of ClickHouse", [one for many in asked.values() for one in many])
    run("README.md", made)
    fill(suite)
    for name in sorted(path.stem for path in (FOLDER / "questions").glob("*.sql") if path.stem != "terminations"):
        run("README.md", f"{questions.replace('gpu_by_node', name)}{' --param_job=train' * (name == 'training_job')}")
    named = (TOP / "README.md").read_text("utf-8")
    checks.none("documents: README.md names every question and every file", [
        path.name for path in FOLDER.rglob("*.sql") if f"`{path.stem if path.parent != FOLDER else path.name}`" not in named
        and f"deploy/clickhouse/{path.name}`" not in named])
    # What it takes is given once, and every head says what it needs besides.
    shell.run("export " + made[: made.index("envsubst")])
    engine.query("CREATE TABLE default.vector_metrics ENGINE = MergeTree ORDER BY timestamp AS SELECT * FROM metrics.vector_rows")
    backfilled = lambda: int(engine.query("SELECT count() AS found FROM metrics.landing WHERE object LIKE '%/1795300000/%'")[0]["found"])
    for name in HEADS:
        before = backfilled() if name == "backfill" else 0
        if name == "check":
            ask(checks, engine, named)
        run(f"{name}.sql", head(f"{name}.sql"))
        if name == "events":
            run("README.md", questions.replace("gpu_by_node", "terminations"))
        if name == "backfill":
            checks.equal("documents: backfill.sql reads what its example names", backfilled(), before + 1)
    checks.equal("documents: every file was executed", {str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*.sql")} - executed, OF_A_CLUSTER)
    checks.equal("documents: nothing is left", engine.query("SHOW TABLES FROM metrics"), [])
    engine.query("DROP TABLE default.vector_metrics SYNC")


def head(name):
    """The command at the head of a file."""
    lines = (FOLDER / name).read_text("utf-8").splitlines()
    comment = "\n".join(line.removeprefix("--").strip() for line in lines[: next(i for i, line in enumerate(lines) if not line.startswith("--"))])
    return re.sub(r"(?<!=)\.\.\. ", "", COMMAND.search(comment.replace("\\\n", "")).group(0))


def fill(suite):
    """An object that is read, and one below it that the queue passes by."""
    now = int(time.time())
    for second in (now, 1795300000):
        body = events.parquet(events.METRIC, [events.metric(now, second % 7)])
        suite.s3.s3.put_object(Bucket=BUCKET, Key=f"{PREFIX}/{SUFFIX}/{second}/w-0000000001.parquet", Body=body)
        wait_for("an object to land", lambda: suite.engine.query("SELECT object FROM metrics.landing"), 30, 0.2)


def ask(checks, engine, readme):
    """Queries within the text, and every table and view that the README lists."""
    for document in DOCUMENTS:
        for query in SQL.findall((TOP / document).read_text("utf-8")):
            query = " ".join(query.split())
            # Of the table that it speaks of.
            answer(checks, engine, document, f"{query} metrics.queue" if query == "SHOW CREATE TABLE" else query)
    for name, parameters in VIEWED.findall(readme[readme.index("| Table or view |") :].split("\n\n")[0]):
        answer(checks, engine, "README.md", f"SELECT count() FROM metrics.{name}{f'({ARGUMENTS[name]})' if parameters else ''}")
    text = (FOLDER / "tables.sql").read_text("utf-8")
    examples = re.findall(r"^--.*?(growth(?:_between)?\((?:[^()]|\(\))*\))", text, re.MULTILINE)
    checks.equal("documents: tables.sql has two examples", len(examples), 2)
    for example in examples:
        answer(checks, engine, "tables.sql", f"SELECT count() FROM metrics.{example}")


def answer(checks, engine, where, query):
    """A query that has to be answered."""
    try:
        engine.query(query)
        why = ""
    except Exception as error:  # the engine's own words
        why = str(error)
    checks.that(f"documents: {where}: {query}", not why, why)
