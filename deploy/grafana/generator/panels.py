"""Panels and dashboards as Grafana's JSON (dashboard schema 39 and later, as Grafana 10.4 and 11 write it).

A board is data: rows of panels, and variables. What is the same for all of them is here and nowhere else.
"""

from dataclasses import dataclass, field

from . import queries
from .expressions import parse

PLUGIN = "grafana-clickhouse-datasource"
SOURCE = {"type": PLUGIN, "uid": "${datasource}"}
# Formats of the data source's answers: lines over time, and a table.
LINES, TABLE = 0, 1
# The queries are of this generation; the data source rewrites older ones.
QUERY_VERSION = "4.0.0"
HEIGHT = 8
WIDTH = 24
# The colours of thresholds.
GOOD, WARNING, BAD = "green", "orange", "red"


@dataclass
class Panel:
    """What all kinds share. `asked` is `{legend or column: expression}`; a legend names labels in braces."""

    title: str
    unit: str
    asked: dict
    # Said in the panel's corner.
    about: str = ""
    width: int = 12
    min: float = None
    max: float = None
    # Values from which it is orange, and red.
    bounds: tuple = ()

    kind = None
    instant = False
    # The table that is asked, where it is none of samples.
    table = ""

    def trees(self):
        return {legend: parse(text) for legend, text in self.asked.items()}

    def groups(self):
        """What is asked, by the labels of the legends: each needs a query of its own."""
        found = {}
        for legend, tree in self.trees().items():
            found.setdefault(queries.labels_of(legend), {})[legend] = tree
        return found

    def queries(self, scope):
        """The SQL of each query."""
        make = queries.latest if self.instant else queries.lines
        return [make(asked, by, scope) for by, asked in self.groups().items()]

    def format(self):
        return TABLE if self.instant else LINES

    def thresholds(self):
        steps = [{"color": GOOD, "value": None}]
        steps += [{"color": color, "value": bound} for color, bound in zip((WARNING, BAD), self.bounds)]
        return {"mode": "absolute", "steps": steps}

    def defaults(self):
        found = {"unit": self.unit, "thresholds": self.thresholds(), "color": {"mode": "thresholds"}}
        return found | {name: value for name, value in (("min", self.min), ("max", self.max)) if value is not None}

    def overrides(self):
        return []

    def options(self):
        return {}

    def json(self, scope, interval):
        """Everything but its number and place."""
        targets = [
            {"refId": chr(ord("A") + number), "datasource": SOURCE, "editorType": "sql", "format": self.format(),
             "queryType": "table" if self.format() == TABLE else "timeseries", "pluginVersion": QUERY_VERSION, "rawSql": sql}
            for number, sql in enumerate(self.queries(scope))
        ]
        found = {"type": self.kind, "title": self.title, "datasource": SOURCE, "interval": interval,
                 "fieldConfig": {"defaults": self.defaults(), "overrides": self.overrides()},
                 "options": self.options(), "targets": targets}
        return found | ({"description": self.about} if self.about else {})


@dataclass
class Lines(Panel):
    """Lines over time."""

    # normal or percent: lines upon each other.
    stack: str = "none"
    # Legends that match are drawn below zero, or dashed and without a filling.
    below: str = ""
    limit: str = ""
    # How many lines at most, the highest ones; 0 for all.
    most: int = 0

    kind = "timeseries"

    def queries(self, scope):
        found = super().queries(scope)
        return [queries.largest(sql, self.most) for sql in found] if self.most else found

    def defaults(self):
        custom = {
            "drawStyle": "line", "lineWidth": 1, "fillOpacity": 40 if self.stack != "none" else 15, "showPoints": "never",
            # A counterpart that is scraped less often than the bucket is long has gaps that mean nothing.
            "spanNulls": 300_000, "stacking": {"group": "A", "mode": self.stack},
        }
        return super().defaults() | {"custom": custom, "color": {"mode": "palette-classic"}, "displayName": "${__field.labels.series}"}

    def overrides(self):
        dashed = [
            {"id": "custom.fillOpacity", "value": 0},
            {"id": "custom.lineStyle", "value": {"dash": [10, 10], "fill": "dash"}},
            {"id": "custom.stacking", "value": {"group": "A", "mode": "none"}},
        ]
        negative = [{"id": "custom.transform", "value": "negative-Y"}]
        return [
            {"matcher": {"id": "byRegexp", "options": f"/{pattern}/"}, "properties": properties}
            for pattern, properties in ((self.below, negative), (self.limit, dashed)) if pattern
        ]

    def options(self):
        return {"legend": {"calcs": ["min", "mean", "max"], "displayMode": "table", "placement": "bottom", "showLegend": True},
                "tooltip": {"mode": "multi", "sort": "desc"}}


@dataclass
class Number(Panel):
    """The last value, as a number."""

    kind = "stat"
    instant = True

    def reduced(self, values=False):
        return {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": values}}

    def options(self):
        return self.reduced() | {"colorMode": "value" if self.bounds else "none", "graphMode": "none", "justifyMode": "auto",
                                 "orientation": "auto", "textMode": "auto"}


@dataclass
class Dial(Number):
    """The last value against a scale."""

    kind = "gauge"

    def options(self):
        return self.reduced() | {"orientation": "auto", "showThresholdLabels": False, "showThresholdMarkers": True}


@dataclass
class Bars(Number):
    """The last values of several things, a bar for each."""

    kind = "bargauge"

    def options(self):
        return self.reduced(values=True) | {"displayMode": "basic", "orientation": "horizontal", "showUnfilled": True,
                                            "valueMode": "color", "namePlacement": "auto"}


@dataclass
class Table(Panel):
    """The whole range, a row for each group."""

    by: tuple = ()
    # Units of columns that have another than the panel's.
    units: dict = field(default_factory=dict)
    keep: tuple = ()
    width: int = WIDTH

    kind = "table"

    def groups(self):
        return {self.by: self.trees()}

    def queries(self, scope):
        return [queries.table(self.trees(), self.by, scope, self.keep)]

    def format(self):
        return TABLE

    def overrides(self):
        return [{"matcher": {"id": "byName", "options": name}, "properties": [{"id": "unit", "value": unit}]}
                for name, unit in self.units.items()]

    def options(self):
        return {"showHeader": True, "cellHeight": "sm"}


@dataclass
class EndedLines(Lines):
    """How often pods and containers ended, over time. `only` is a condition on `terminations AS s`."""

    asked: dict = field(default_factory=dict)
    legend: str = "{reason}"
    only: str = ""

    table = "terminations"

    def queries(self, scope):
        sql = queries.ended_lines(self.legend, self.only, scope)
        return [queries.largest(sql, self.most) if self.most else sql]

    def defaults(self):
        found = super().defaults()
        # Each bucket by itself: most of them have nothing.
        bars = {"drawStyle": "bars", "fillOpacity": 80, "spanNulls": False, "stacking": {"group": "A", "mode": "normal"}}
        return found | {"custom": found["custom"] | bars}

    def options(self):
        return super().options() | {"legend": {"calcs": ["sum"], "displayMode": "table", "placement": "bottom", "showLegend": True}}


@dataclass
class EndedNumber(Number):
    """How often, in all the time shown."""

    asked: dict = field(default_factory=dict)
    only: str = ""

    table = "terminations"

    def queries(self, scope):
        return [queries.ended_number(self.only, scope)]


@dataclass
class EndedTable(Table):
    """How often by some columns; with `last`, so many of the last ones, a row each."""

    asked: dict = field(default_factory=dict)
    only: str = ""
    last: int = 0

    table = "terminations"

    def queries(self, scope):
        if self.last:
            return [queries.ended_last(self.by, self.only, scope, self.last)]
        return [queries.ended_table(self.by, self.only, scope)]


@dataclass
class Row:
    """Panels under a title; those of a closed row are asked when it is opened."""

    title: str
    panels: list
    open: bool = False


@dataclass
class Variable:
    """What one chooses at the top: a value of a label of the series of some metrics."""

    name: str
    label: str
    metrics: tuple
    # Several values, or all.
    several: bool = False

    def condition(self):
        """On `series AS s`. All values are no condition, so that a series without the label is there too."""
        place = queries.place(self.label)
        if self.several:
            return f"$__conditionalAll({place} IN (${{{self.name}:singlequote}}), ${self.name})"
        return f"{place} = ${{{self.name}:singlequote}}"

    def sql(self, before):
        return queries.values_of(self.label, self.metrics, [variable.condition() for variable in before])

    def json(self, before):
        sql = self.sql(before)
        return {"type": "query", "name": self.name, "label": self.name.capitalize(), "datasource": SOURCE, "query": sql,
                "refresh": 1, "sort": 1, "multi": self.several, "includeAll": self.several,
                "current": {"text": ["All"], "value": ["$__all"]} if self.several else {}, "options": [], "regex": "", "hide": 0,
                "skipUrlSync": False}


@dataclass
class Board:
    """A dashboard. `interval` is the shortest bucket: two scrapes of what it shows, so that each has a sample of every series."""

    uid: str
    title: str
    about: str
    rows: list
    variables: list
    interval: str = "30s"

    def scope(self):
        return [variable.condition() for variable in self.variables]

    def panels(self):
        return [panel for row in self.rows for panel in row.panels]

    def json(self):
        scope, y, found, numbers = self.scope(), 0, [], iter(range(1, 10_000))
        for row in self.rows:
            title = {"type": "row", "id": next(numbers), "title": row.title, "collapsed": not row.open,
                     "gridPos": {"h": 1, "w": WIDTH, "x": 0, "y": y}, "panels": []}
            found.append(title)
            y += 1
            placed, end = self.placed(row, scope, y, numbers)
            (found if row.open else title["panels"]).extend(placed)
            y = end if row.open else y
        source = {"type": "datasource", "name": "datasource", "label": "Data source", "query": PLUGIN, "refresh": 1, "hide": 0,
                  "includeAll": False, "multi": False, "current": {}, "options": [], "regex": "", "skipUrlSync": False}
        variables = [variable.json(self.variables[:number]) for number, variable in enumerate(self.variables)]
        return {"uid": self.uid, "title": self.title, "description": self.about, "tags": ["cedana-agent"], "schemaVersion": 39,
                "editable": True, "graphTooltip": 1, "refresh": "1m", "timezone": "browser", "time": {"from": "now-6h", "to": "now"},
                "timepicker": {}, "annotations": {"list": []}, "links": [], "templating": {"list": [source, *variables]},
                "panels": found}

    def placed(self, row, scope, y, numbers):
        """The panels of a row from left to right, and where the next row begins."""
        x, found = 0, []
        height = HEIGHT // 2 if all(panel.width < 6 for panel in row.panels) else HEIGHT
        for panel in row.panels:
            if x + panel.width > WIDTH:
                x, y = 0, y + height
            place = {"h": height, "w": panel.width, "x": x, "y": y}
            found.append(panel.json(scope, self.interval) | {"id": next(numbers), "gridPos": place})
            x += panel.width
        return found, y + height
