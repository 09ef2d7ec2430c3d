"""What a panel has to show, worked out from the samples without SQL: the meaning of its expressions, sample by sample."""

import math
import re

from generator.expressions import OF_COUNTERS, Binary, Number, Term, terms


class Truth:
    """Samples of one cluster, and who owns its pods."""

    def __init__(self, series, scope):
        """`scope` is `{label: values}`; other series do not count."""
        self._series, owners, chips = {}, {}, {}
        for one in series:
            labels = one.labels
            if one.metric == "kube_pod_owner":
                owners[labels["namespace"], labels["pod"]] = labels["owner_kind"], labels["owner_name"]
            if one.metric == "node_hwmon_chip_names":
                chips[labels["node"], labels["chip"]] = labels["chip_name"]
        for one in series:
            labels = {**one.labels}
            kind, name = owners.get((labels.get("namespace", ""), labels.get("pod", "")), ("", ""))
            owned = name not in ("", "<none>")
            labels["owner_kind"], labels["owner"] = (kind, name) if owned else ("Pod", labels.get("pod", ""))
            labels["chip_name"] = chips.get((labels.get("node"), labels.get("chip")), "")
            if all(labels.get(label, "") in values for label, values in scope.items()):
                self._series.setdefault(one.metric, []).append((labels, one.samples))

    def rows(self, asked, by, begin, end, usual, step=None):
        """`{(bucket or None, values of by): {name: value}}`; without a step there is one bucket."""
        found = {}
        for name, tree in asked.items():
            values = {term: self.values(term, by, begin, end, usual, step) for term in set(terms(tree))}
            for key in {key for groups in values.values() for key in groups}:
                value = calculated(tree, {term: groups.get(key) for term, groups in values.items()})
                found.setdefault(key, {})[name] = value
        return found

    def values(self, term, by, begin, end, usual, step):
        """A term in each bucket and group: first each series by itself, then all of a group."""
        groups, function = {}, term.function or usual
        for labels, samples in self._series.get(term.metric, ()):
            if not all(matches(labels.get(label, ""), sign, text) for label, sign, text in term.matchers):
                continue
            group = tuple(labels.get(label, "") for label in by)
            for bucket, seen in buckets(samples, begin, end, step).items():
                groups.setdefault((bucket, group), []).append(over_time(function, seen))
        return {key: value for key, found in groups.items() if (value := over_series(term.aggregate, found)) is not None}


def buckets(samples, begin, end, step):
    """`{bucket: [(second, value, second and value before or None)]}` of what lies between begin and end."""
    found, before = {}, None
    for second, value in samples:
        if begin <= second <= end:
            found.setdefault(second // step * step if step else None, []).append((second, value, before))
        # A sample that is too long ago is not seen.
        before = (second, value) if second >= begin - 300 else None
    return found


def over_time(function, seen):
    if function in OF_COUNTERS:
        pairs = [(second, value, before) for second, value, before in seen if before]
        grown = sum(value - before[1] if value >= before[1] else value for _, value, before in pairs)
        elapsed = sum(second - before[0] for second, _, before in pairs)
        return {"increase": grown, "seconds": elapsed, "rate": grown / elapsed if elapsed else None}[function]
    values = [value for _, value, _ in seen]
    return {"mean": sum(values) / len(values), "last": values[-1], "highest": max(values), "lowest": min(values)}[function]


def over_series(aggregate, found):
    if aggregate == "count":
        return len(found) or None
    values = [value for value in found if value is not None]
    if not values:
        return None
    return {"sum": sum, "avg": lambda all: sum(all) / len(all), "min": min, "max": max}[aggregate](values)


def calculated(tree, values):
    """A tree's value; None where a part has none, or where it is divided by nothing."""
    if isinstance(tree, Number):
        return tree.value
    if isinstance(tree, Term):
        return values[tree]
    assert isinstance(tree, Binary)
    left, right = calculated(tree.left, values), calculated(tree.right, values)
    if left is None or right is None or (tree.sign == "/" and right == 0):
        return None
    return {"+": lambda: left + right, "-": lambda: left - right, "*": lambda: left * right, "/": lambda: left / right}[tree.sign]()


def matches(text, sign, wanted):
    found = text == wanted if sign in ("=", "!=") else re.fullmatch(wanted, text) is not None
    return found == (sign in ("=", "=~"))


def legend(text, by, values):
    """A legend with the values of its labels."""
    found = text.format(**dict(zip(by, values)))
    return found.rstrip() if text.count("{") and text != f"{{{by[0]}}}" else found


def same(one, other):
    """Whether two values are equal but for rounding."""
    return math.isclose(float(one), float(other), rel_tol=1e-6, abs_tol=1e-6)
