"""From what a panel asks to ClickHouse SQL with the macros of the data source: the only place where SQL is made.

Every query has the same shape. `chosen` are the series that it is about: by metric, by the dashboard's variables, and by matchers where
all terms of a metric have some. Their samples come from one of two views of tables.sql, which read the metrics and days asked for and
nothing else, whole minutes once a bucket is two minutes or longer: `growth_between` where a term is of a counter, and `values_between`
otherwise. Then each series is made one row of its bucket, and only then are series put together.

What ended is no metric but rows of `terminations` (events.sql): those queries begin with `ended`.
"""

from .expressions import OF_COUNTERS, Binary, Number, Term, terms

# A function over time, as a column of one row for each series.
COLUMNS = {
    # By the time between samples and not by the bucket: it may hold less than its length, at the edges or after a gap.
    "rate": "sum(increase) / nullIf(sum(elapsed), 0)",
    "increase": "sum(increase)",
    "seconds": "sum(elapsed)",
    "mean": "avg(value)",
    "last": "argMax(value, timestamp)",
    "highest": "max(max)",
    "lowest": "min(min)",
}
# Labels that are columns of the table `series`.
PROMOTED = ("cluster_id", "job", "instance", "namespace", "pod", "container", "node", "uid")
# Labels that stand somewhere else: what to join to `series AS s`, and the expressions. A pod without an owner owns itself.
OWNER = "LEFT JOIN pod_owners AS o ON o.cluster_id = s.cluster_id AND o.namespace = s.namespace AND o.pod = s.pod"
CHIP = ("LEFT JOIN (SELECT DISTINCT node, labels['chip'] AS chip, labels['chip_name'] AS chip_name FROM series FINAL "
        "WHERE metric = 'node_hwmon_chip_names') AS c ON c.node = s.node AND c.chip = s.labels['chip']")
JOINED = {
    "owner": (OWNER, "if(o.name IN ('', '<none>'), s.pod, o.name)"),
    "owner_kind": (OWNER, "if(o.name IN ('', '<none>'), 'Pod', o.kind)"),
    "chip_name": (CHIP, "c.chip_name"),
}
# How far back the last value of something may be.
RECENT = "5 MINUTE"


def lines(asked, by, scope):
    """A query of lines over time: columns `time`, `series` and `value`. `asked` is `{legend: tree}`."""
    names = numbered(asked, "mean")
    inner = grouped(asked, by, scope, names, "mean", "$__fromTime", "$__interval_s", "$__timeInterval(timestamp) AS time")
    return f"SELECT time, line.1 AS series, line.2 AS value\n{unfolded(asked, names, inner)}\nORDER BY time, series"


def largest(sql, most):
    """Of a query of lines only those that are the highest over all the time shown: a cluster may have thousands."""
    total = f"SELECT time, series, value, sum(value) OVER (PARTITION BY series) AS total\nFROM\n(\n{indented(sql)}\n)"
    place = f"SELECT time, series, value, dense_rank() OVER (ORDER BY total DESC, series) AS place\nFROM\n(\n{indented(total)}\n)"
    return f"SELECT time, series, value\nFROM\n(\n{indented(place)}\n)\nWHERE place <= {most}\nORDER BY time, series"


def latest(asked, by, scope):
    """A query of last values: columns `series` and `value`."""
    names = numbered(asked, "last")
    inner = grouped(asked, by, scope, names, "last", f"$__toTime - INTERVAL {RECENT}", "1")
    return f"SELECT line.1 AS series, line.2 AS value\n{unfolded(asked, names, inner)}\nORDER BY series"


def table(asked, by, scope, keep=None):
    """A query of the whole range: a column for each label, and one for each thing asked; the highest first. `keep` is a condition:
    the name of what is asked, a sign and a number."""
    names = numbered(asked, "mean")
    inner = grouped(asked, by, scope, names, "mean", "$__fromTime", "$__interval_s")
    columns = ", ".join([*by, *(f"{written(tree, names, 'mean')} AS `{name}`" for name, tree in asked.items())])
    first = next(iter(asked))
    where = f"WHERE `{keep[0]}` {keep[1]} {keep[2]}\n" if keep else ""
    return f"SELECT {columns}\nFROM\n(\n{indented(inner)}\n)\n{where}ORDER BY `{first}` DESC, {', '.join(by)}\nLIMIT 1000"


def ended_lines(legend, only, scope):
    """A query of lines over time of what ended, by what the legend names."""
    return (f"SELECT $__timeInterval(timestamp) AS time, CAST({legend_of(legend)}, 'String') AS series, toFloat64(sum(times)) AS value\n"
            f"FROM\n(\n{indented(ended(only, scope))}\n)\nGROUP BY time, series\nORDER BY time, series")


def ended_number(only, scope):
    """A query of how often something ended."""
    return f"SELECT toFloat64(sum(times)) AS value\nFROM\n(\n{indented(ended(only, scope))}\n)"


def ended_table(by, only, scope):
    """A query of how often something ended, by these columns; the most frequent first."""
    columns = ", ".join(by)
    codes = "arrayStringConcat(arrayMap(code -> toString(code), arraySort(groupUniqArrayIf(exit_code, source = 'pod'))), ', ')"
    return (f"SELECT {columns}, sum(times) AS `Times`, uniqExact(name) AS `Pods`, {codes} AS `Exit codes`, max(timestamp) AS `Last`\n"
            f"FROM\n(\n{indented(ended(only, scope))}\n)\nGROUP BY {columns}\nORDER BY `Times` DESC, {columns}\nLIMIT 1000")


def ended_last(columns, only, scope, most):
    """A query of what ended last, the newest first."""
    shown = ", ".join(f"s.{column} AS {column}" for column in columns)
    # An event has no exit code.
    return (f"SELECT s.timestamp AS `Time`, {shown}, if(s.source = 'pod', toString(s.exit_code), '') AS `Exit code`, s.message AS `Message`\n"
            f"FROM terminations AS s\nWHERE {' AND '.join(happened(only, scope))}\n"
            f"ORDER BY s.timestamp DESC, s.uid, s.count DESC\nLIMIT {most}")


def ended(only, scope):
    """Rows of `terminations` with how many `times` each stands for: an event that repeats is a row again with its count then, each
    end of a container is one."""
    return (f"SELECT s.*, if(s.source = 'pod' OR row_number() OVER seen = 1, 1, s.count - lagInFrame(s.count) OVER seen) AS times\n"
            f"FROM terminations AS s\nWHERE {' AND '.join(happened(only, scope))}\n"
            f"WINDOW seen AS (PARTITION BY s.cluster_id, s.uid ORDER BY s.count ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)")


def happened(only, scope):
    """The conditions on `terminations AS s`; the dashboard's variables are of columns that it has as well."""
    return ["s.timestamp >= $__fromTime", "s.timestamp <= $__toTime", *scope, *([only] if only else [])]


def values_of(label, metrics, scope):
    """A query of all values of a label, for a variable."""
    conditions = " AND ".join([f"s.metric IN ({listed(metrics)})", *scope, f"{place(label)} != ''"])
    return f"SELECT DISTINCT {column(label)} AS text FROM series AS s FINAL WHERE {conditions} ORDER BY text"


def numbered(asked, usual):
    """A name for each different term."""
    found = {}
    for tree in asked.values():
        for term in terms(tree):
            found.setdefault(completed(term, usual), f"t{len(found) + 1}")
    return found


def completed(term, usual):
    return term if term.function else term._replace(function=usual)


def grouped(asked, by, scope, names, usual, start, step, *time):
    """Each series a row of its bucket, and a column for each term over all series of a group."""
    metrics = sorted({term.metric for term in names})
    functions = sorted({term.function for term in names})
    needed = sorted({*by} | {label for term in names for label, _, _ in term.matchers})
    source = "growth_between" if set(functions) & set(OF_COUNTERS) else "values_between"
    chosen = choice(names, needed, scope)
    columns = ", ".join([*time, "metric", *needed, *(f"{COLUMNS[name]} AS {name}" for name in functions)])
    groups = ", ".join([*("time" for _ in time), *by])
    totals = ", ".join([*([groups] if groups else []), *(f"{aggregate(term)} AS {name}" for term, name in names.items())])
    return (
        f"WITH chosen AS\n(\n{indented(chosen)}\n)\n"
        f"SELECT {totals}\nFROM\n(\n"
        f"    SELECT {columns}\n"
        f"    FROM {source}(metrics = [{listed(metrics)}], from = {start}, to = $__toTime, step = {step}) AS v\n"
        f"    INNER JOIN chosen USING (metric, series_id)\n"
        f"    WHERE metric IN ({listed(metrics)}) AND series_id IN (SELECT series_id FROM chosen)\n"
        f"    GROUP BY {', '.join([*('time' for _ in time), 'metric', 'series_id', *needed])}\n"
        f")" + (f"\nGROUP BY {groups}" if groups else "")
    )


def choice(names, needed, scope):
    """The series that the terms are about, with the labels that they need."""
    joins = sorted({JOINED[label][0] for label in needed if label in JOINED})
    columns = ["s.metric AS metric", "s.series_id AS series_id", *(f"{column(label)} AS {label}" for label in needed)]
    asked = {}
    for term in names:
        asked.setdefault(term.metric, []).append(" AND ".join(condition(matcher) for matcher in term.matchers))
    narrow = {metric: " OR ".join(sorted(set(found))) for metric, found in asked.items() if all(found)}
    metrics = [f"s.metric IN ({listed(sorted(asked))})"]
    metrics += [f"(s.metric != '{metric}' OR {found})" for metric, found in sorted(narrow.items())]
    joined = "".join(f"\n{join}" for join in joins)
    return f"SELECT {', '.join(columns)}\nFROM series AS s FINAL{joined}\nWHERE {' AND '.join([*metrics, *scope])}"


def place(label):
    """Where a label stands, in `series AS s` and what is joined to it."""
    if label in JOINED:
        return JOINED[label][1]
    return f"s.{label}" if label in PROMOTED else f"s.labels['{label}']"


def column(label):
    """A label as a text, so that all are of one type."""
    return f"CAST({place(label)}, 'String')" if label in PROMOTED else place(label)


def condition(matcher):
    """A matcher as a condition on `series AS s`."""
    label, sign, text = matcher
    return compared(place(label), sign, text)


def compared(column_or_place, sign, text):
    return {"=": f"{column_or_place} = '{text}'", "!=": f"{column_or_place} != '{text}'",
            "=~": f"match({column_or_place}, '^({text})$')", "!~": f"NOT match({column_or_place}, '^({text})$')"}[sign]


def aggregate(term):
    """A term as an aggregate over rows of series; without any such row it has no value."""
    conditions = " AND ".join([f"metric = '{term.metric}'", *(compared(*matcher) for matcher in term.matchers)])
    if term.aggregate == "count":
        return f"nullIf(toFloat64(countIf({conditions})), 0)"
    return f"{term.aggregate}OrNullIf({term.function}, {conditions})"


def written(tree, names, usual):
    """A tree as an expression over the columns of terms."""
    if isinstance(tree, Number):
        return f"{tree.value:g}" if tree.value < 1e6 else f"{tree.value:.0f}"
    if isinstance(tree, Term):
        return names[completed(tree, usual)]
    assert isinstance(tree, Binary)
    left, right = written(tree.left, names, usual), written(tree.right, names, usual)
    return f"{left} / nullIf({right}, 0)" if tree.sign == "/" else f"({left} {tree.sign} {right})"


def unfolded(asked, names, inner):
    """A row for each thing asked that has a value."""
    usual = "mean" if "$__timeInterval" in inner else "last"
    pairs = ",\n    ".join(f"({legend_of(legend)}, {written(tree, names, usual)})" for legend, tree in asked.items())
    return f"FROM\n(\n{indented(inner)}\n)\nARRAY JOIN\n[\n    {pairs}\n] AS line\nWHERE isNotNull(line.2)"


def legend_of(legend):
    """`{device} - Read` as an expression over labels."""
    parts = [part for piece in legend.split("{") for part in pieces(piece)]
    if len(parts) == 1:
        return parts[0]
    # A label that is not there leaves no blank at the end.
    return f"trimRight(concat({', '.join(parts)}))"


def pieces(piece):
    label, closing, text = piece.partition("}")
    if closing:
        return [label, *([f"'{text}'"] if text else [])]
    return [f"'{piece}'"] if piece else []


def labels_of(legend):
    """The labels that a legend names."""
    return tuple(piece.partition("}")[0] for piece in legend.split("{")[1:])


def listed(texts):
    return ", ".join(f"'{text}'" for text in texts)


def indented(text):
    return "\n".join("    " + line for line in text.split("\n"))
