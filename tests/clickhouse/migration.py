"""From Vector to the agent and back, by the commands of deploy/MIGRATION.md as they stand there, while both ship what the same exporters
answer: readers of `rows_across` see each answer once, whoever shipped it."""

import calendar
import time
from types import SimpleNamespace

import judge
import yaml
from processes import Failure, wait_for
from s3_server import BUCKET, REGION
from shell import TOP, Shell, commands
from shippers import INTERVAL, JOBS, MARK, SHIPPED, Cluster, stop
from vector_json import COLUMNS, SETTINGS

GUIDE = "deploy/MIGRATION.md"
# What stands in the guide for what the suite has.
PLACE, FOLDER = "https://BUCKET.s3.REGION.amazonaws.com", "org/v2/vector/data"
TIMES, CUT, BACK = "--from 90m --to 30m", "2026-11-22 12:00:00", "2026-11-25 08:00:00"
SECTIONS = ("The road", "The way back", "Translate the configuration", "Compare old and new")
# Answers of each target that either shipper has before the two are compared.
ENOUGH = 14
# Between two rows of a series: the two shippers look at different moments, and a busy machine is late.
GAP_MAX = 2.5 * INTERVAL
# Answers so close to the end of a shipper may have come too late for it.
ENDING = 1
ROWS = f"name IN ({', '.join(repr(name) for name in SHIPPED)})"


def check(suite):
    """Walks the guide and judges what a reader sees."""
    checks, folder = suite.checks, suite.work / "migration"
    folder.mkdir()
    cluster = Cluster(suite, "moved", folder)
    suite.closing.append(cluster.close)
    key, secret = suite.s3.root
    words = {PLACE: f"{suite.s3.url}/{BUCKET}", "BUCKET": BUCKET, "REGION": REGION, FOLDER: cluster.prefix,
             "METRICS_KEY=...": f"METRICS_KEY={key}", "METRICS_SECRET=...": f"METRICS_SECRET={secret}"}
    access = {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret, "AWS_ENDPOINT_URL": suite.s3.url}
    walk = Walk(suite, cluster)
    walk.shell = Shell(suite, folder, access | cluster.environment, words, walk.moved)
    suite.closing.append(walk.shell.close)
    walk.road()
    walk.back()
    walk.end()


class Walk:
    """The guide, command by command: each is taken in its turn, and what is left in the end was not walked."""

    def __init__(self, suite, cluster):
        self.suite, self.checks, self.cluster, self.shell = suite, suite.checks, cluster, None
        self._left = {section: commands(GUIDE, [section]) for section in SECTIONS}
        self.cut = self.back_at = None
        # Between which moments the doctor asked a target of each job for itself.
        self.doctor = (0, 0)

    def take(self, section, beginning, code=0):
        """Runs the next command of a section, which begins so: what came of it."""
        command = self._left[section].pop(0)
        self.checks.that(f"migration: the guide goes on with {beginning}", command.startswith(beginning), command)
        done = self.shell.run(command)
        self.checks.equal(f"migration: {beginning} ends with {code}", done.code, code)
        if done.code != code:
            print(f"--      {command}\n{done.output}{done.errors}", flush=True)
        return done

    def moved(self, program, arguments):
        """What the cluster does: the code and output of helm or kubectl."""
        cluster, asked = self.cluster, [one for one in arguments if one not in ("-n", "cedana-monitoring")]
        if program == "helm" and asked[:2] == ["get", "values"]:
            return 0, (TOP / "tests" / "data" / "vector_values.yaml").read_text("utf-8")
        if program == "helm" and asked[0] == "install":
            cluster.new.environment["S3_PREFIX_SUFFIX"] = asked[asked.index("--set-file") - 1].removeprefix("s3.prefixSuffix=")
            cluster.start(cluster.new)
            return 0, ""
        if program == "helm" and asked[0] == "uninstall":
            return (1, "it runs") if cluster.old.process.running() else (0, "")
        if asked[0] == "exec":
            return cluster.command(*asked[asked.index("--") + 2 :], "--config", cluster.new.config)
        if asked[:3] == ["patch", "daemonset", "vector"] and '"remove"' in asked[-1]:
            cluster.start(cluster.old)
            return 0, ""
        if asked[:3] == ["patch", "daemonset", "vector"]:
            return stop(cluster.old, time.time()), ""
        if asked == ["scale", "deploy/cedana-agent", "--replicas=0"]:
            return stop(cluster.new, time.time()), ""
        return 1, f"{program} {arguments} is not known here"

    def road(self):
        """From Vector alone to the agent alone."""
        checks, cluster, take = self.checks, self.cluster, lambda *words: self.take("The road", *words)
        cluster.old_config(TOP / "tests" / "data" / "vector_values.yaml")
        old_tables(self.suite, cluster.prefix)
        cluster.start(cluster.old)
        wait_for("rows of the old shipper", lambda: self.number("FROM vector.rows"), 30, 0.2)
        self.take("Translate the configuration", "helm -n cedana-monitoring get values vector", 1)
        take("helm -n cedana-monitoring get values vector")
        said = take("agent migrate", 1).errors
        checks.equal("migration: two things are to be decided", said.count("DECIDE"), 2)
        text = cluster.new.config.read_text("utf-8")
        cluster.new.config.write_text(yaml.safe_dump(cluster.addressed(text, cluster.new)), "utf-8")
        take("agent check")
        targets = yaml.safe_load(take("agent targets").output)
        checks.equal("migration: every target of every job is found", sorted(
            target["url"].split("/")[2] for target in targets if target["job"] != "agent"), sorted(cluster.by_address()))
        (table,) = take("clickhouse-client --query 'SHOW CREATE").rows()
        checks.that("migration: the old queue takes what ends in .log", "/*/*.log" in table["statement"], table)
        take("export METRICS_DATABASE")
        take("envsubst < deploy/clickhouse/tables.sql")
        take("helm -n cedana-monitoring install")
        wait_for("the agent to be ready", cluster.new.ready, 60, 0.2)
        began = time.time()
        doctor = take("kubectl -n cedana-monitoring exec").output
        self.doctor = (began, time.time())
        checks.none("migration: the doctor has nothing to mend", [line for line in doctor.splitlines() if "FAIL" in line])
        self.compare(take)
        self.cut = self.now()
        self.shell.word(CUT, self.cut)
        cut_over = self._left["The road"][0]
        take("METRICS_OLD_ROWS")
        take("METRICS_HOST_NAMES")
        self.check_host()
        # The step back that needs nothing to be started, and forth again.
        before = self.take("The way back", "METRICS_OLD_ROWS")
        checks.equal("migration: with a moment far ahead all rows are the old ones", before.output, "")
        checks.equal("migration: none is the agent's", self.number("FROM metrics.rows_across WHERE name = 'node_load1'"), 0)
        checks.equal("migration: the cut is made again", self.shell.run(cut_over).code, 0)
        take("kubectl -n cedana-monitoring patch daemonset vector")
        alone = time.time()
        wait_for("a while of the agent alone", lambda: cluster.new.ready() and time.time() > alone + 3 * INTERVAL, 60, 0.2)
        until = self.settle()
        # What is due is answered within its interval, and the other shipper goes on.
        self.judge("cut over", until, until - 2 * INTERVAL)

    def compare(self, take):
        """Both have shipped for a while: the new side has all that the old one has, by name and labels."""
        begin = time.time() + 2 * INTERVAL

        def answers(of_old):
            """How many the target has given since that has given fewest."""
            counts = dict.fromkeys((address for address, (job, _) in self.cluster.by_address().items() if JOBS[job][2]), 0)
            for (address, _), (moment, is_old) in self.answered().items():
                counts[address] += moment >= begin and is_old == of_old
            return min(counts.values())

        wait_for("answers to both", lambda: min(answers(True), answers(False)) >= ENOUGH, 120, 0.5)
        end = time.time()
        # What waits in a batch has to arrive.
        self.settle()
        moment = lambda second: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(second))
        self.shell.word(TIMES, f"--from {moment(begin)} --to {moment(end)}")
        alike = self.take("Compare old and new", "agent compare", 1).output
        self.checks.that("migration: what came with Vector's own node is all that is missing", alike.endswith(
            "the new side lacks 4 series, differs in 0 and has holes in 0\n") and alike.count("missing: container_") == 2, alike)
        for _ in range(2):
            found = take("agent compare").output
            self.checks.that("migration: nothing is missing, differs or has holes", found.endswith("the new side has all that the old one has\n"), found)
        checked = take("METRICS_PATIENCE=").rows()
        self.checks.equal("migration: check.sql has nothing to say", checked, [])

    def check_host(self):
        """Dashboards that ask for Vector's own names find node-exporter's values."""
        loads = "FROM metrics.host_metrics_as_vector WHERE name = 'host_load1'"
        self.checks.equal("migration: host_load1 is there, for each node", self.number(loads, "uniqExact(tags['host'])"), 2)

    def back(self):
        """From the agent alone to Vector alone."""
        checks, cluster, take = self.checks, self.cluster, lambda *words: self.take("The way back", *words)
        started = time.time()
        take("kubectl -n cedana-monitoring patch daemonset vector")
        wait_for("its first object", lambda: self.number(f"FROM vector.rows WHERE timestamp > fromUnixTimestamp64Milli({int(started * 1000)})"),
                 60, 0.2)
        (last,) = take("clickhouse-client --query 'SELECT max(timestamp)").rows()
        checks.that("migration: its last row is a new one", second_of(last["last"][:19]) >= int(started), last)
        self.back_at = self.now()
        self.shell.word(BACK, self.back_at)
        take("METRICS_OLD_ROWS")
        take("kubectl -n cedana-monitoring scale deploy/cedana-agent")
        alone = time.time()
        wait_for("a while of Vector alone", lambda: cluster.old.process.running() and time.time() > alone + 3 * INTERVAL, 60, 0.2)
        for _, exporter in cluster.by_address().values():
            exporter.close_shop()
        # The last step of the road, once all is read.
        checks.equal("migration: the old shipper ends with exit code 0", stop(cluster.old, time.time()), 0)
        until = self.settle()
        self.judge("there and back", until, until)

    def end(self):
        """The last step of the road, and nothing is left."""
        self.take("The road", "helm -n cedana-monitoring uninstall vector")
        rows = self.number("FROM metrics.rows_across")
        self.take("The road", "clickhouse-client --query 'DROP TABLE vector.to_rows'")
        self.take("The road", "clickhouse-client --query 'DROP TABLE vector.queue'")
        self.checks.equal("migration: the old rows outlive their queue", self.number("FROM metrics.rows_across"), rows)
        self.checks.equal("migration: every command of the guide was walked", self._left, {section: [] for section in SECTIONS})
        self.checks.equal("migration: no other section has any", len(commands(GUIDE)), len(commands(GUIDE, SECTIONS)))
        self.checks.equal("migration: everything made is removed", self.shell.run("envsubst < deploy/clickhouse/remove.sql | "
                          "clickhouse-client --multiquery").code, 0)
        self.checks.equal("migration: nothing is left", self.suite.engine.query("SHOW TABLES FROM metrics"), [])
        self.suite.engine.query("DROP DATABASE vector SYNC")

    def number(self, source, what="count()"):
        """One number that the engine finds."""
        return int(self.suite.engine.query(f"SELECT {what} AS found {source}")[0]["found"])

    @staticmethod
    def now():
        """A moment as ClickHouse reads it."""
        return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())

    def answered(self):
        """`{(instance, number): (moment, whether the old shipper asked)}` of all answers that both ship."""
        return {(address, number): (exporter.answers[number - 1], MARK in path)
                for address, (job, exporter) in self.cluster.by_address().items() if JOBS[job][2]
                for number, path in enumerate(list(exporter.paths), 1)}

    def seen(self, source):
        """`{(instance, number): {(timestamp, name): rows}}` of rows in Vector's shape."""
        found = {}
        for row in self.suite.engine.query(
            f"SELECT tags['instance'] AS instance, toUInt64(value) AS number, toUnixTimestamp64Milli(toDateTime64(timestamp, 3)) / 1000 AS time, "
            f"name, count() AS rows FROM {source} WHERE {ROWS} GROUP BY ALL"
        ):
            answer = found.setdefault((row["instance"], int(row["number"])), {})
            answer[float(row["time"]), row["name"]] = int(row["rows"])
        return found

    def settle(self):
        """Waits until all that was answered until now is in the tables of whom it was answered to, or no longer."""
        until = time.time()
        old = lambda: {answer for answer, (moment, is_old) in self.answered().items() if is_old and moment <= until}
        new = lambda: {answer for answer, (moment, is_old) in self.answered().items()
                       if not is_old and moment <= until and not self.is_doctors(moment)}
        try:
            wait_for("all answers to be read", lambda: old() <= self.seen("vector.rows").keys()
                     and new() <= self.seen("metrics.vector_rows").keys(), 30, 0.5)
        except Failure as failure:
            # What is missing is named by whoever judges.
            print(f"--      {failure}", flush=True)
        return until

    def is_doctors(self, moment):
        """Whether an answer may be the doctor's, which ships nothing."""
        return self.doctor[0] <= moment <= self.doctor[1]

    def judge(self, who, until, horizon):
        """Each answer until then is in the table of the shipper that asked for it; across the cut each that was due before the horizon
        is seen once."""
        who, checks = f"migration, {who}", self.checks
        answered, old, new = self.answered(), self.seen("vector.rows"), self.seen("metrics.vector_rows")
        lost = {answer: at for answer, (at, is_old) in answered.items() if answer not in (old if is_old else new) and at <= until}
        ended = {answer for answer, at in lost.items() for shipper in (self.cluster.old, self.cluster.new) for stop in shipper.stops
                 if abs(at - stop) <= ENDING}
        asked = {answer for answer, at in lost.items() if self.is_doctors(at)}
        jobs = [self.cluster.by_address()[address][0] for address, _ in asked]
        checks.equal(f"{who}: the doctor has asked one target of each job", sorted(jobs), sorted(job for job, (_, _, names) in JOBS.items() if names))
        late = judge.given_up({answer: at for answer, at in lost.items() if answer not in ended | asked}, SimpleNamespace(failed=self.failed()))
        checks.none(f"{who}: every answer was read, but for scrapes that were given up", lost.keys() - ended - asked - late)
        checks.none(f"{who}: each in the table of whom it was given to", [
            answer for table, is_old in ((old, True), (new, False)) for answer in table if answered.get(answer, (0, not is_old))[1] != is_old])
        across, old, new = (
            {answer: rows for answer, rows in table.items() if min(rows)[0] < horizon} for table in (self.seen("metrics.rows_across"), old, new))
        expected = self.expected(old, new)
        checks.that(f"{who}: rows of both are seen", old.keys() & across.keys() and new.keys() & across.keys(), len(across))
        checks.equal(f"{who}: an answer is seen once, whole, of the old table or of the new", across, expected)
        torn = [(answer, rows) for answer, rows in across.items() if set(rows.values()) != {1} or len({time for time, _ in rows}) != 1
                or len(rows) != len(JOBS[self.cluster.by_address()[answer[0]][0]][2])]
        checks.none(f"{who}: each with one row of each of its series", torn)
        checks.none(f"{who}: no series has a gap", self.gaps(across))
        self.check_counts(who, across, horizon)
        self.check_rows(who)
        print(f"--      {who}: {len(answered)} answers, {len(across)} of them seen across the cut, {len(lost)} not shipped", flush=True)

    def failed(self):
        """`{instance: [moment]}` of scrapes that are delivered as failed, by either shipper."""
        found = {}
        for source in ("vector.rows", "metrics.vector_rows"):
            for row in self.suite.engine.query(f"SELECT tags['instance'] AS instance, toUnixTimestamp64Milli(toDateTime64(timestamp, 3)) / 1000 "
                                               f"AS time FROM {source} WHERE name = 'up' AND value = 0"):
                found.setdefault(row["instance"], []).append(float(row["time"]))
        return found

    def expected(self, old, new):
        """What a reader has to see: the old table's until the cut, the agent's from then on, until the way back."""
        cuts = [second_of(moment) for moment in (self.cut, self.back_at) if moment]
        is_old = lambda rows: sum(min(rows)[0] >= cut for cut in cuts) % 2 == 0
        return {answer: rows for table, of_old in ((old, True), (new, False)) for answer, rows in table.items() if is_old(rows) == of_old}

    def gaps(self, across):
        """Places where a target's rows lie further apart than two looks."""
        times = {}
        for (instance, _), rows in across.items():
            times.setdefault(instance, []).append(min(rows)[0])
        return [(instance, one, other) for instance, all in times.items() for one, other in zip(sorted(all), sorted(all)[1:])
                if other - one > GAP_MAX]

    def check_counts(self, who, across, horizon):
        """As a dashboard would count: rows of each series in each interval are as many as the answers that it had then."""
        width = 5 * INTERVAL
        expected = {}
        for (instance, _), rows in across.items():
            for moment, name in rows:
                key = (name, instance, int(moment // width * width))
                expected[key] = expected.get(key, 0) + 1
        rows = self.suite.engine.query(
            f"SELECT name, tags['instance'] AS instance, mapFilter((tag, text) -> tag NOT IN ('ts', 'host', 'node'), tags) AS series, "
            f"toUnixTimestamp(toStartOfInterval(timestamp, INTERVAL {width} SECOND)) AS bucket, count() AS rows FROM metrics.rows_across "
            f"WHERE {ROWS} AND toUnixTimestamp64Milli(timestamp) < {int(horizon * 1000)} GROUP BY name, instance, series, bucket")
        found = {(row["name"], row["instance"], int(row["bucket"])): int(row["rows"]) for row in rows}
        self.checks.equal(f"{who}: a query finds one series where there is one", len(rows), len(found))
        self.checks.equal(f"{who}: and in each interval as many rows as there were answers", found, expected)

    def check_rows(self, who):
        """Tags, kinds and types are the same on either side, but for the node of what came through a federation."""
        sides = [self.suite.engine.query(
            f"SELECT DISTINCT name, mapSort(mapFilter((tag, text) -> tag != 'ts' AND NOT (tag IN ('host', 'node') AND name LIKE 'container%'), "
            f"CAST(tags, 'Map(String, String)'))) AS tags, CAST(kind, 'String') AS kind, CAST(type, 'String') AS type FROM {source} "
            f"WHERE {ROWS} ORDER BY name, toString(tags)") for source in ("vector.rows", "metrics.vector_rows")]
        self.checks.equal(f"{who}: a row of either shipper has the same tags, kind and type", sides[1], sides[0])
        seconds = self.number(f"FROM metrics.rows_across WHERE toUInt64OrZero(tags['ts']) != toUnixTimestamp(timestamp)")
        self.checks.equal(f"{who}: the tag ts is the second of the row", seconds, 0)


def second_of(moment):
    """The Unix second of a moment as ClickHouse writes it."""
    return calendar.timegm(time.strptime(moment, "%Y-%m-%d %H:%M:%S"))


def old_tables(suite, prefix):
    """The old ingestion, which knows nothing of the agent."""
    place, (key, secret) = f"{suite.s3.url}/{BUCKET}/{prefix}", suite.s3.root
    for sql in (
        "CREATE DATABASE vector",
        f"CREATE TABLE vector.queue ({COLUMNS}) ENGINE = S3Queue('{place}/*/*.log', '{key}', '{secret}', 'JSONEachRow') "
        f"SETTINGS {SETTINGS}, keeper_path = '/suite/vector'",
        "CREATE TABLE vector.rows (`name` LowCardinality(String), `tags` Map(LowCardinality(String), String), "
        "`timestamp` DateTime64(9, 'UTC'), `kind` LowCardinality(String), `type` LowCardinality(String), `value` Float64) "
        "ENGINE = MergeTree ORDER BY (name, timestamp)",
        "CREATE MATERIALIZED VIEW vector.to_rows TO vector.rows AS SELECT name, tags, timestamp, kind, "
        "if(isNull(counter.value), 'gauge', 'counter') AS type, ifNull(counter.value, ifNull(gauge.value, nan)) AS value FROM vector.queue",
    ):
        suite.engine.query(sql)
