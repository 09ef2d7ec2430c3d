"""What Grafana and its ClickHouse data source do to a query before ClickHouse sees it, and what a dashboard may look like.

Variables and `$__conditionalAll` are replaced in the browser (the data source's src/data/CHDatasource.ts, `applyTemplateVariables` and
`applyConditionalAll`; the format `singlequote` is Grafana's own), then the macros by the data source's backend (pkg/macros/macros.go).
Types are those that the Python package grafana-foundation-sdk has been made with, from Grafana's published schemas.
"""

import enum
import importlib
import re
import typing

ALL = "$__all"


class Query(typing.NamedTuple):
    """The time shown and the length of a bucket, in Unix seconds and seconds, and `{variable: [values]}`."""

    begin: int
    end: int
    interval: int
    variables: dict


def expand(sql, query):
    """The SQL as ClickHouse gets it; a ValueError names what nobody would replace."""
    text = backend(replaced(conditional(sql, query.variables), query.variables), query)
    if "$" in re.sub(r"'(?:[^'\\]|\\.)*'", "''", text):
        raise ValueError(f"something is not replaced: {text}")
    return text


def conditional(sql, variables):
    """`$__conditionalAll(condition, $variable)`: the condition, or `1=1` while all values are chosen. The last one first."""
    macro = "$__conditionalAll("
    while macro in sql:
        start = sql.rindex(macro)
        (condition, variable), end = arguments(sql, start + len(macro) - 1)
        chosen = variables[re.search(r"\$\{?(\w+)", variable).group(1)]
        sql = sql[:start] + ("1=1" if chosen in ([], [ALL]) else condition) + sql[end:]
    return sql


def replaced(sql, variables):
    """`${variable:singlequote}`: each value quoted, a quote in it escaped."""
    def quoted(match):
        return ",".join("'" + value.replace("'", "\\'") + "'" for value in variables[match.group(1)])

    return re.sub(r"\$\{(\w+):singlequote\}", quoted, sql)


def backend(sql, query):
    """The macros of pkg/macros/macros.go that the dashboards use."""
    for name, text in (("fromTime", f"toDateTime({query.begin})"), ("toTime", f"toDateTime({query.end})"),
                       ("interval_s", str(max(query.interval, 1)))):
        sql = re.sub(rf"\$__{name}\b(?!\()", text, sql)
    while "$__timeInterval(" in sql:
        start = sql.index("$__timeInterval(")
        (column,), end = arguments(sql, start + len("$__timeInterval"))
        # Older versions of the data source find the end of the arguments by a pattern that takes a second bracket with it.
        if sql[end : end + 1] == ")":
            raise ValueError("a bracket behind $__timeInterval(..)")
        sql = sql[:start] + f"toStartOfInterval(toDateTime({column}), INTERVAL {max(query.interval, 1)} second)" + sql[end:]
    return sql


def arguments(sql, opening):
    """What stands between brackets, split at its own commas, and where it ends."""
    depth, found, begin = 0, [], opening + 1
    for place in range(opening, len(sql)):
        letter = sql[place]
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if (letter == "," and depth == 1) or depth == 0:
            found.append(sql[begin:place].strip())
            begin = place + 1
        if depth == 0:
            return found, place + 1
    raise ValueError(f"a bracket is not closed: {sql[opening:]}")


def complaints(board):
    """Where a dashboard is not what Grafana's types say; each a text with its path."""
    models = {name: importlib.import_module(f"grafana_foundation_sdk.models.{name}")
              for name in ("dashboard", "timeseries", "stat", "gauge", "bargauge", "table")}
    found = fits({**board, "panels": []}, models["dashboard"].Dashboard, "dashboard")
    for panel in [inner for panel in board["panels"] for inner in (panel, *panel.get("panels", []))]:
        path = f"panel {panel['title']!r}"
        if panel["type"] == "row":
            found += fits({**panel, "panels": []}, models["dashboard"].RowPanel, path)
            continue
        found += fits(panel, models["dashboard"].Panel, path)
        model = models[panel["type"]]
        found += fits(panel["options"], model.Options, f"{path}.options")
        if "custom" in panel["fieldConfig"]["defaults"]:
            found += fits(panel["fieldConfig"]["defaults"]["custom"], model.FieldConfig, f"{path}.fieldConfig.defaults.custom")
    return found


def fits(value, kind, path):
    """Where a value is not of a type: classes of the package, unions, lists, mappings, enumerations and plain types."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if kind in (object, typing.Any):
        return []
    if origin is typing.Union:
        attempts = [fits(value, one, path) for one in inner if one is not type(None)]
        return [] if value is None else min(attempts, key=len)
    if origin is typing.Literal:
        return [] if value in inner else [f"{path}: {value!r} is none of {inner}"]
    if origin is list:
        if not isinstance(value, list):
            return [f"{path}: {value!r} is no list"]
        return [one for number, part in enumerate(value) for one in fits(part, inner[0], f"{path}[{number}]")]
    if origin is dict:
        if not isinstance(value, dict):
            return [f"{path}: {value!r} is no mapping"]
        return [one for name, part in value.items() for one in fits(part, inner[1], f"{path}.{name}")]
    if isinstance(kind, type) and kind.__name__ == "Dataquery":
        # What a query is, is its data source's matter; each has a letter.
        return [] if re.fullmatch("[A-Z]", value["refId"]) else [f"{path}.refId: {value['refId']!r}"]
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return [] if value in [one.value for one in kind] else [f"{path}: {value!r} is no {kind.__name__}"]
    if isinstance(kind, type) and hasattr(kind, "from_json"):
        return of_class(value, kind, path)
    # A whole number may stand for another one; a truth value may not.
    wanted = (int, float) if kind is float else kind
    right = isinstance(value, wanted) and (kind is bool or not isinstance(value, bool))
    return [] if right else [f"{path}: {value!r} is no {getattr(kind, '__name__', kind)}"]


def of_class(value, kind, path):
    if not isinstance(value, dict):
        return [f"{path}: {value!r} is no {kind.__name__}"]
    found = []
    types = typing.get_type_hints(kind)
    for name, part in value.items():
        attribute = attribute_of(name, types)
        if attribute is None:
            found.append(f"{path}.{name}: {kind.__name__} has no such field")
        elif part is not None:
            found += fits(part, types[attribute], f"{path}.{name}")
    return found


def attribute_of(name, types):
    """The package writes names in snake case, those of Python with an underscore behind."""
    snake = re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name).lower()
    return next((one for one in (snake, f"{snake}_val", f"{snake}_", name) if one in types), None)
