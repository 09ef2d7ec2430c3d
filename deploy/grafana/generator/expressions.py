"""What a panel asks, as text: a small part of PromQL, parsed into a tree that `queries` turns into SQL.

    100 * (1 - avg(rate(node_cpu_seconds_total{mode='idle'})))

A term is an aggregate over series (`sum`, `avg`, `min`, `max`, `count`) of a function over time (`rate`, `increase`, `seconds`, `mean`,
`last`, `highest`, `lowest`) of a metric with matchers (`=`, `!=`, `=~`, `!~`). Either may be left out: the aggregate is `avg` then, and
the function what the kind of the panel says. By which labels terms are grouped is the panel's matter; no range is written, because the
bucket of a panel is its range. What is divided by zero has no value.
"""

import re
from typing import NamedTuple

AGGREGATES = ("sum", "avg", "min", "max", "count")
# Of one series and bucket: by what a counter grew a second, by what it grew at all, over how many seconds that was seen, and
# the values of anything else.
FUNCTIONS = ("rate", "increase", "seconds", "mean", "last", "highest", "lowest")
# These need to know the sample before.
OF_COUNTERS = ("rate", "increase", "seconds")

TOKEN = re.compile(r"\s*(?:(?P<number>\d+(?:\.\d+)?(?:e\d+)?)|(?P<name>[A-Za-z_:][\w:]*)|(?P<text>'[^']*')|"
                   r"(?P<sign>!=|=~|!~|[-+*/(){}=,]))")


class Number(NamedTuple):
    """A constant."""

    value: float


class Term(NamedTuple):
    """An aggregate over series of a function over time. `function` is None where the panel's kind decides."""

    aggregate: str
    function: str
    metric: str
    matchers: tuple


class Binary(NamedTuple):
    """`sign` is one of + - * /."""

    sign: str
    left: object
    right: object


def parse(text):
    """The tree of an expression; a ValueError says what is wrong with it."""
    parser = Parser(text)
    tree = parser.total()
    if parser.peek() is not None:
        raise ValueError(f"{parser.peek()!r} is left over in {text!r}")
    return tree


def terms(tree):
    """All terms of a tree, from left to right."""
    if isinstance(tree, Term):
        return [tree]
    if isinstance(tree, Binary):
        return terms(tree.left) + terms(tree.right)
    return []


class Parser:
    """One method for each level of precedence; each takes what it understands and leaves the rest."""

    def __init__(self, text):
        self._text, self._tokens, end = text, [], 0
        while text[end:].strip():
            match = TOKEN.match(text, end)
            if not match:
                raise ValueError(f"{text[end:]!r} cannot be read in {text!r}")
            self._tokens.append((match.lastgroup, match.group(match.lastgroup)))
            end = match.end()

    def peek(self):
        return self._tokens[0][1] if self._tokens else None

    def take(self, *wanted):
        """The next token, one of those that are wanted if any are named."""
        if not self._tokens or (wanted and self.peek() not in wanted):
            raise ValueError(f"{' or '.join(wanted) or 'more'} is missing before {self.peek()!r} in {self._text!r}")
        return self._tokens.pop(0)

    def total(self):
        tree = self.product()
        while self.peek() in ("+", "-"):
            tree = Binary(self.take()[1], tree, self.product())
        return tree

    def product(self):
        tree = self.factor()
        while self.peek() in ("*", "/"):
            tree = Binary(self.take()[1], tree, self.factor())
        return tree

    def factor(self):
        kind, text = self.take()
        if kind == "number":
            return Number(float(text))
        if text == "(":
            tree = self.total()
            self.take(")")
            return tree
        if kind != "name":
            raise ValueError(f"{text!r} begins nothing in {self._text!r}")
        return self.term(text)

    def term(self, name):
        aggregate, function, depth = "avg", None, 0
        if name in AGGREGATES and self.peek() == "(":
            aggregate, depth, name = name, depth + 1, self.inner()
        if name in FUNCTIONS and self.peek() == "(":
            function, depth, name = name, depth + 1, self.inner()
        matchers = self.matchers() if self.peek() == "{" else ()
        for _ in range(depth):
            self.take(")")
        return Term(aggregate, function, name, matchers)

    def inner(self):
        self.take("(")
        return self.take()[1]

    def matchers(self):
        found = []
        while self.take("{", ",")[1] and self.peek() != "}":
            label, sign = self.take()[1], self.take("=", "!=", "=~", "!~")[1]
            found.append((label, sign, self.take()[1].strip("'")))
            if self.peek() == "}":
                break
        self.take("}")
        return tuple(found)
