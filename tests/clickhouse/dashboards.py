"""The dashboards of deploy/grafana: what they ask is asked of a cluster whose truth is known, and what they are is what Grafana takes.

Grafana itself does not run here. Its part is played by `grafana`: variables and macros are replaced as it and its data source do.
"""

import dataclasses
import json
import pathlib
import random
import re
import sys
import time

import yaml

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.append(str(TOP / "deploy" / "grafana"))

import generate
import panels_cluster
import panels_ended
from deployed import Deployed
from generator.expressions import OF_COUNTERS, terms
from generator.panels import PLUGIN, Table
from grafana import ALL, Query, complaints, expand
from panels_truth import Truth, legend, same
from questions import moment

# Buckets, seconds: one that is answered from samples, and one from whole minutes.
INTERVALS = (60, 300)
COLUMNS = ("cluster_id", "job", "instance", "namespace", "pod", "container", "node", "uid")
FIELDS = {"timestamp": "DateTime64(3, ''UTC'')", "metric": "String", "type": "String"} | dict.fromkeys(COLUMNS, "String") | {
    "labels": "Map(String, String)", "value": "Float64", "object": "String"}
# What each variable is while every panel is asked, and the labels that it is about.
CHOSEN = {"cluster": ["c"], "job": ["node-exporter"], "node": ["node-b"], "gpu": [ALL], "namespace": ["ml"]}
# What there is to choose from.
CHOICES = {
    "cluster": ["c", "other"], "job": ["node-exporter"], "node": ["node-a", "node-b"], "gpu": ["0", "1"], "namespace": ["ml", "web"],
}


def check(suite):
    """Looks at the files, fills the tables, and asks every panel and every variable."""
    checks, tables = suite.checks, Deployed(suite, "shown", "dashboards")
    boards = {name: board for name, (board, _, _) in generate.BOARDS.items()}
    checks.section("dashboards", check_files, checks, boards)
    checks.section("dashboards", check_names, checks, boards)
    tables.run("tables.sql")
    tables.run("events.sql")
    began = int(time.time()) // 86400 * 86400 - 43200
    series = panels_cluster.cluster(began, {term.metric for board in boards.values() for term in all_terms(board)} | {
        "kube_pod_owner", "node_uname_info", "node_hwmon_chip_names", "agent_build_info"})
    fill(suite, tables, series, began)
    panels_ended.fill(tables, began)
    for name, board in boards.items():
        checks.section("dashboards", check_variables, checks, tables, name, board)
        for interval in INTERVALS:
            checks.section("dashboards", check_panels, checks, tables, name, board, series, began, interval)
            checks.section("dashboards", check_ended, checks, tables, board, began, interval)
    checks.section("dashboards", check_most, checks, tables, boards["workloads"], series, began)
    checks.section("dashboards", check_growth, checks, tables, began)
    tables.run("remove.sql")
    checks.equal("dashboards: nothing is left after remove.sql", tables.query("SHOW TABLES FROM shown"), [])


def check_files(checks, boards):
    """The files are what the generator writes, and what Grafana's types allow."""
    checks.equal("dashboards: the files are what generate.py writes", generate.differing(), [])
    for name, board in boards.items():
        written = json.loads((generate.HERE / "dashboards" / f"{name}.json").read_text("utf-8"))
        checks.none(f"dashboards: {name} is what Grafana's types allow", complaints(written))
        numbers = [panel["id"] for outer in written["panels"] for panel in (outer, *outer.get("panels", []))]
        checks.equal(f"dashboards: {name} numbers each panel once", len(numbers), len(set(numbers)))
        titles = [(row.title, panel.title) for row in board.rows for panel in row.panels]
        checks.equal(f"dashboards: {name} has no panel twice", len(titles), len(set(titles)))
    checks.equal("dashboards: what is provisioned is the data source that is asked, and the folder that is mounted", provisioned(),
                 (PLUGIN, "/var/lib/grafana/dashboards/cedana-agent"))
    broken = json.loads((generate.HERE / "dashboards" / "events.json").read_text("utf-8"))
    broken["panels"][1]["fieldConfig"]["defaults"]["unit"] = 7
    broken["panels"][1]["options"]["colourMode"] = "value"
    checks.equal("dashboards: a wrong type and an unknown field are seen", len(complaints(broken)), 2)


def provisioned():
    """The type of the one data source, and the path of the one folder of dashboards."""
    folder = generate.HERE / "provisioning"
    names = ("datasources/metrics.yaml", "dashboards/cedana-agent.yaml")
    sources, boards = (yaml.safe_load((folder / name).read_text("utf-8")) for name in names)
    (source,), (provider,) = sources["datasources"], boards["providers"]
    return source["type"], provider["options"]["path"]


def all_terms(board):
    return [term for panel in board.panels() for tree in panel.trees().values() for term in terms(tree)]


def check_names(checks, boards):
    """Every metric is one that an exporter is known to have, and only what counts is asked for its rate."""
    known = {metric: kind for _, name, _, _ in panels_cluster.EXPORTERS for metric, kind, _, _ in panels_cluster.exposition(name)}
    known |= dict.fromkeys(panels_cluster.REPORTED, "gauge")
    used = [term for board in boards.values() for term in all_terms(board)]
    checks.none("dashboards: every metric is one that an exporter has", {term.metric for term in used} - known.keys())
    counters = {metric for metric, kind in known.items() if kind == "counter" or panels_cluster.counts(metric)}
    checks.none("dashboards: what is asked for its growth counts", {
        term.metric for term in used if term.function in OF_COUNTERS and term.metric not in counters and "UTIL" not in term.metric})
    sources = "".join(path.read_text("utf-8") for folder in ("agent", "pipeline", "sinks") for path in (TOP / folder / "src").rglob("*.rs"))
    ours = {re.sub("_(bucket|sum|count)$", "", name) for name in known if name.startswith("agent_")}
    checks.none("dashboards: the agent's metrics are in its sources", {
        name for name in ours if f'"{name}"' not in sources})


def fill(suite, tables, series, began):
    """All samples, in no order; and those of the day before, which no panel may see or read."""
    rows = [(one, second, value) for one in series for second, value in one.samples]
    rows += [(one, began - 86400, 1e12) for one in series]
    random.Random(7).shuffle(rows)
    path = suite.work / "dashboards.jsonl"
    path.write_text("".join(json.dumps(written(*row)) + "\n" for row in rows), "utf-8")
    tables.query(f"INSERT INTO landing ({', '.join(FIELDS)}) SELECT * FROM file('{path}', JSONEachRow, "
                 f"'{', '.join(f'{name} {kind}' for name, kind in FIELDS.items())}')")
    # Few parts, as after a while; and samples that came twice and are not merged yet.
    for table in ("samples", "series", "samples_1m"):
        tables.query(f"OPTIMIZE TABLE {table} FINAL")
    tables.query("INSERT INTO samples SELECT * FROM samples LIMIT 5000")


def written(series, second, value):
    """A row of `landing`."""
    rest = {name: text for name, text in series.labels.items() if name not in COLUMNS}
    return {name: series.labels.get(name, "") for name in COLUMNS} | {
        "timestamp": moment(second), "metric": series.metric, "type": series.kind, "labels": rest, "value": value, "object": "made"}


def check_variables(checks, tables, name, board):
    """Each variable offers what there is, given those before it."""
    query = Query(0, 1, 60, CHOSEN)
    for number, variable in enumerate(board.variables):
        sql = expand(variable.sql(board.variables[:number]), query)
        expected = CHOICES[variable.name]
        # A node's GPUs are those of the node that is chosen.
        checks.equal(f"dashboards: {name}: the variable {variable.name}", [row["text"] for row in tables.query(sql)], expected)


def check_panels(checks, tables, name, board, series, began, interval):
    """Every value of every panel, and that nothing is read but the days and metrics that are asked for."""
    scope = {variable.label: CHOSEN[variable.name] for variable in board.variables if CHOSEN[variable.name] != [ALL]}
    truth = Truth(series, scope)
    query = Query(began + 300, began + 1499, interval, CHOSEN)
    wrong, silent, careless, seen, slowest = [], [], [], set(), (0, "")
    # Nothing about last values changes with the bucket; and closed rows are made like open ones.
    panels = board.panels() if interval == INTERVALS[0] else [
        panel for row in board.rows if row.open for panel in row.panels if not panel.instant]
    for panel in (panel for panel in panels if not panel.table):
        asked = list(panel.groups().items())
        for (by, trees), sql in zip(asked, panel.queries(board.scope())):
            sql = expand(sql, query)
            start = time.monotonic()
            found = table_rows(tables, sql, by) if isinstance(panel, Table) else line_rows(tables, sql, panel.instant)
            slowest = max(slowest, (time.monotonic() - start, panel.title))
            expected = expectation(truth, panel, by, trees, query)
            wrong += [(panel.title, key, found.get(key), expected.get(key)) for key in found.keys() | expected.keys()
                      if key not in found or key not in expected or not same(found[key], expected[key])]
            silent += [(panel.title, one) for one in missing(panel, by, trees, expected)]
            # All queries of a kind and view are made alike.
            if (kind := (type(panel), "growth_between" in sql)) not in seen:
                seen.add(kind)
                careless += [(panel.title, place) for place in unpruned(tables, sql)]
    checks.none(f"dashboards: {name}, {interval} s: every value is the truth", wrong)
    checks.none(f"dashboards: {name}, {interval} s: everything that is asked has a value somewhere", silent)
    checks.none(f"dashboards: {name}, {interval} s: only the metrics and days that are asked for are read", careless)
    print(f"--      {name}, {interval} s: the slowest panel took {slowest[0] * 1000:.0f} ms: {slowest[1]}", flush=True)


def check_ended(checks, tables, board, began, interval):
    """Panels that ask for rows of events, and not for samples."""
    query = Query(began + 300, began + 1499, interval, CHOSEN)
    for panel in (panel for panel in board.panels() if panel.table):
        (sql,) = panel.queries(board.scope())
        panels_ended.check(checks, tables, panel, expand(sql, query), began, query)


def check_most(checks, tables, board, series, began):
    """Of more lines than a panel may have it has the highest."""
    (panel,) = [panel for panel in board.panels() if panel.title == "CPU, by pod"]
    query = Query(began + 300, began + 1499, INTERVALS[0], CHOSEN | {"namespace": [ALL]})
    ((by, trees),) = panel.groups().items()
    expected = expectation(Truth(series, {"cluster_id": CHOSEN["cluster"]}), panel, by, trees, query)
    totals = {}
    for (_, pod), value in expected.items():
        totals[pod] = totals.get(pod, 0) + value
    highest = sorted(totals, key=totals.get)[-2:]
    (sql,) = dataclasses.replace(panel, most=2).queries(board.scope())
    found = line_rows(tables, expand(sql, query), panel.instant)
    checks.that("dashboards: there are more lines than two", len(totals) > 2, totals)
    checks.equal("dashboards: of more lines than there may be the highest are shown",
                 {key: round(value, 6) for key, value in found.items()},
                 {key: round(value, 6) for key, value in expected.items() if key[1] in highest})


def line_rows(tables, sql, instant):
    """`{(bucket, series): value}`; two rows for one line would break the panel."""
    time_column = "NULL" if instant else "toUnixTimestamp(time)"
    rows = tables.query(f"SELECT {time_column} AS bucket, series, value FROM ({sql})")
    found = {(row["bucket"] and int(row["bucket"]), row["series"]): row["value"] for row in rows}
    assert len(found) == len(rows), f"{len(rows) - len(found)} rows are twice in {sql}"
    return found


def table_rows(tables, sql, by):
    """`{(values of by, column): value}` of a table."""
    found = {}
    for row in tables.query(sql):
        group = tuple(row[label] for label in by)
        found |= {(group, name): value for name, value in row.items() if name not in by and value is not None}
    return found


def expectation(truth, panel, by, trees, query):
    """The same as it has to be."""
    if isinstance(panel, Table):
        rows = truth.rows(trees, by, query.begin, query.end, "mean")
        if panel.keep:
            name, sign, bound = panel.keep
            kept = {"<": lambda value: value < bound, ">": lambda value: value > bound}[sign]
            rows = {key: row for key, row in rows.items() if row.get(name) is not None and kept(row[name])}
        return {(group, name): value for (_, group), row in rows.items() for name, value in row.items() if value is not None}
    if panel.instant:
        rows = truth.rows(trees, by, query.end - 300, query.end, "last")
    else:
        rows = truth.rows(trees, by, query.begin, query.end, "mean", query.interval)
    return {(bucket, legend(name, by, group)): value for (bucket, group), row in rows.items() for name, value in row.items()
            if value is not None}


def missing(panel, by, trees, expected):
    """What of all that is asked no row of the truth has."""
    if isinstance(panel, Table):
        return trees.keys() - {name for _, name in expected}
    pattern = {name: re.compile(re.sub(r"\\{\w+\\}", ".*", re.escape(name))) for name in trees}
    return {name for name in trees if not any(pattern[name].fullmatch(series.ljust(1)) for _, series in expected)}


def unpruned(tables, sql):
    """Tables of which more is read than the parts of the day, or without looking at the metric."""
    lines = [row["explain"].strip(" │└─") for row in tables.query(f"EXPLAIN indexes = 1 {sql}")]
    found, table = [], None
    for number, line in enumerate(lines):
        if line.startswith("ReadFromMergeTree"):
            table = line
        if line == "PrimaryKey":
            condition = next(one for one in lines[number:] if one.startswith("Condition"))
            granules = next(one for one in lines[number:] if one.startswith("Granules"))
            if "metric" not in condition and not granules.endswith("/0"):
                found.append(f"{table}: {condition}")
        if line.startswith("Parts: ") and "|" in line and "samples)" in (table or ""):
            parts = int(re.search(r"Parts: (\d+)", line).group(1))
            of_day = int(tables.number("(SELECT count() FROM system.parts WHERE active AND database = 'shown' AND table = 'samples')"))
            if parts >= of_day:
                found.append(f"{table}: {parts} of {of_day} parts")
    return found


def check_growth(checks, tables, began):
    """Between two times a counter grew by what `growth` says, whether samples or minutes are asked."""
    begin, end = began + 300, began + 1499
    metric = "node_network_receive_bytes_total"
    times = f"from = toDateTime({begin}), to = toDateTime({end})"
    asked, order = "SELECT series_id, sum(increase) AS increase FROM", "GROUP BY series_id ORDER BY series_id"
    whole = tables.query(f"{asked} growth({times}) WHERE metric = '{metric}' {order}")
    checks.that("dashboards: there are counters", len(whole) > 3, len(whole))
    for interval in INTERVALS:
        found = tables.query(f"{asked} growth_between(metrics = ['{metric}'], {times}, step = {interval}) {order}")
        checks.equal(f"dashboards: growth between two times is growth, {interval} s", found, whole)
