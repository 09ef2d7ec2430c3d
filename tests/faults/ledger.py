"""The ledger by identity: what the exporters answered against what lies in the bucket, scrape by scrape.

An answer is known again by its instance and its number. What must hold:

- an answer that was complete `DURABLE_SECONDS` before a kill is delivered, before an orderly end every one;
  one that the agent itself had given up is excused, for one failed scrape (`up` 0) that it reports in that place;
- no (series, timestamp) is there twice, over all objects;
- a scrape is there whole or not at all, and its values are those that were exposed;
- keys only ever increase in the order of their uploads, and no sequence number is missing.
"""

import bisect
import io
import math
import re
from concurrent.futures import ThreadPoolExecutor

import numpy
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from exporters import NUMBER, STEP, VALUE, WIDE, wide_values

# A scrape is durable within a second of its answer: half of it is the time between two syncs of the journal. The other
# half second is for this suite: what it notes is when the kernel had taken the answer, not when the agent had read it.
DURABLE_SECONDS = 1.5

KEY = re.compile(r"/(\d{10})/([a-z0-9]+)-(\d{10})\.parquet$")
REPORT_SAMPLES = 6
COLUMNS = ["instance", "metric", "i", "timestamp"]


def read(s3, prefix):
    """All rows of a prefix as one table, and its keys."""
    listing = s3.objects(prefix)
    keys = [entry["Key"] for entry in listing]
    with ThreadPoolExecutor(4) as pool:
        tables = list(pool.map(lambda key: rows(s3.read(key)), keys))
    empty = pa.table({name: pa.array([], kind) for name, kind in
                      (("instance", pa.string()), ("metric", pa.string()), ("i", pa.string()),
                       ("timestamp", pa.int64()), ("value", pa.float64()))})
    return (pa.concat_tables(tables) if tables else empty), listing


def rows(data):
    """One object: identity, time and value of each row."""
    table = pq.read_table(io.BytesIO(data), columns=["instance", "metric", "labels", "timestamp", "value"])
    number = pc.map_lookup(table.column("labels"), "i", "first")
    return pa.table({
        "instance": table.column("instance").cast(pa.string()),
        "metric": table.column("metric").cast(pa.string()),
        "i": pc.fill_null(number.cast(pa.string()), ""),
        "timestamp": table.column("timestamp").cast(pa.int64()),
        "value": table.column("value"),
    })


class Ledger:
    """What was delivered below one prefix."""

    def __init__(self, s3, prefix):
        self.table, self.listing = read(s3, prefix)
        failed = self.table.filter(pc.and_(pc.equal(self.table.column("metric"), "up"), pc.equal(self.table.column("value"), 0)))
        self.failed = {}
        for instance, time in zip(failed.column("instance").to_pylist(), failed.column("timestamp").to_pylist()):
            self.failed.setdefault(instance, []).append(time)

    def check(self, checks, name, targets, required, uploads=None, gaps=0):
        """All rules. `required(answer)` says whether an answer must be there; `uploads` are the keys in the order in which their
        first attempts came; `gaps` is how many objects were dropped and counted."""
        checks.none(f"{name}: nothing is delivered twice", self.repeated())
        found, broken = self.scrapes({target.instance: target for target in targets})
        checks.none(f"{name}: every scrape is whole, with the values that were exposed", broken)
        missing, needed, delivered, unknown = [], 0, 0, []
        for target in targets:
            numbers = found.get(target.instance, {})
            delivered += len(numbers)
            unknown += [(target.instance, number) for number in numbers if number > target.number]
            wanted = [answer for answer in list(target.answers) if required(answer)]
            needed += len(wanted)
            missing += [(target.instance, answer.number, round(answer.done, 3))
                        for answer in self.not_delivered(target.instance, wanted, numbers)]
        checks.none(f"{name}: every answer that must be there is ({needed} must, {delivered} are)", missing)
        checks.none(f"{name}: nothing is there that was never exposed", unknown)
        checks.that(f"{name}: something was delivered", delivered > 0)
        self.check_keys(checks, name, uploads, gaps)
        return delivered

    def not_delivered(self, instance, answers, numbers):
        """Those of `answers` that are not there and that the agent had not given up. A target is asked for one answer after the other,
        so an answer given up belongs to a scrape that failed between the delivered ones before and after it, and that began before the answer
        was complete; each failed scrape stands for one answer. Order tells, not the clock: a host may stand still for seconds."""
        delivered = sorted(numbers)
        failed = sorted(self.failed.get(instance, ()))
        lost = []
        for answer in sorted((answer for answer in answers if answer.number not in numbers), key=lambda answer: answer.done):
            place = bisect.bisect(delivered, answer.number)
            after = numbers[delivered[place - 1]] if place else -math.inf
            before = min(numbers[delivered[place]] if place < len(delivered) else math.inf, answer.done * 1000)
            given_up = next((time for time in failed if after < time < before), None)
            if given_up is None:
                lost.append(answer)
            else:
                failed.remove(given_up)
        return lost

    def missing(self, targets):
        """Answers that are not there although the agent had not given them up, and how many samples they were."""
        found, _ = self.scrapes({target.instance: target for target in targets})
        lost = [(target, answer) for target in targets
                for answer in self.not_delivered(target.instance, target.answers, found.get(target.instance, {}))]
        samples = sum(1 + answer.series + answer.wide + REPORT_SAMPLES for _, answer in lost)
        return [(target.instance, answer.number) for target, answer in lost], samples

    def check_keys(self, checks, name, uploads, gaps):
        """Keys increase, in the listing by sequence too, and no sequence number is missing."""
        parsed = [KEY.search(entry["Key"]) for entry in self.listing]
        sequences = [int(found.group(3)) for found in parsed if found]
        checks.equal(f"{name}: every key has the form of a key", len(sequences), len(self.listing))
        checks.none(f"{name}: sequence numbers increase with the keys",
                    [pair for pair in zip(sequences, sequences[1:]) if pair[1] <= pair[0]])
        holes = sum(after - before - 1 for before, after in zip(sequences, sequences[1:]))
        checks.that(f"{name}: no sequence number is missing", holes <= gaps, f"{holes} missing, {gaps} counted as dropped")
        by_time = [entry["LastModified"] for entry in self.listing]
        checks.none(f"{name}: keys increase in the order in which they were stored",
                    [pair for pair in zip(by_time, by_time[1:]) if pair[1] < pair[0]])
        if uploads is not None:
            checks.none(f"{name}: no upload goes back to an earlier key",
                        [pair for pair in zip(uploads, uploads[1:]) if pair[1] < pair[0]])

    def repeated(self):
        """Identities with their time that are there more than once."""
        counted = self.table.group_by(COLUMNS).aggregate([("value", "count")])
        return counted.filter(pc.greater(counted.column("value_count"), 1)).slice(0, 1000).to_pylist()

    def scrapes(self, targets):
        """`{instance: {number: timestamp}}` of the scrapes that are there, and what is wrong with them."""
        found, broken = {}, []
        table = self.table
        answered = table.filter(pc.equal(table.column("metric"), NUMBER))
        times = {}
        for instance, time, value in zip(*(answered.column(c).to_pylist() for c in ("instance", "timestamp", "value"))):
            numbers = found.setdefault(instance, {})
            if int(value) in numbers:
                broken.append((instance, int(value), "delivered under two timestamps"))
            numbers[int(value)] = time
            times[(instance, time)] = int(value)
        broken += self._reports(times)
        broken += self._values(targets, times)
        broken += self._wide(targets, times)
        return found, broken

    def _reports(self, times):
        """Each scrape has its report samples, and each `up` of 1 its scrape."""
        table = self.table
        others = pc.is_in(table.column("metric"), pa.array([NUMBER, VALUE, WIDE]))
        reports = table.filter(pc.invert(others)).group_by(["instance", "timestamp"]).aggregate([("value", "count")])
        counts = {(row["instance"], row["timestamp"]): row["value_count"] for row in reports.to_pylist()}
        for key, count in counts.items():
            if count != REPORT_SAMPLES:
                yield (*key, f"{count} report samples")
        ups = table.filter(pc.equal(table.column("metric"), "up"))
        for instance, time, value in zip(*(ups.column(c).to_pylist() for c in ("instance", "timestamp", "value"))):
            if (value == 1) != ((instance, time) in times):
                yield instance, time, f"up is {value}, and the scrape is {'there' if (instance, time) in times else 'missing'}"
        for key in times:
            if key not in counts:
                yield (*key, "no report samples")

    def _values(self, targets, times):
        table = self.table.filter(pc.equal(self.table.column("metric"), VALUE))
        series = pc.cast(table.column("i"), pa.float64())
        number = pc.subtract(table.column("value"), pc.multiply(series, float(STEP)))
        table = table.append_column("number", number)
        groups = table.group_by(["instance", "timestamp"]).aggregate(
            [("number", "min"), ("number", "max"), ("number", "count")]
        )
        seen = set()
        for row in groups.to_pylist():
            key = (row["instance"], row["timestamp"])
            seen.add(key)
            expected = targets[row["instance"]].series if row["instance"] in targets else None
            values = (row["number_min"], row["number_max"], row["number_count"])
            if values != (times.get(key), times.get(key), expected):
                yield (*key, f"values of scrapes {values[0]} to {values[1]}, {values[2]} of {expected} series")
        for key in times:
            if key not in seen and targets[key[0]].series:
                yield (*key, "no values")

    def _wide(self, targets, times):
        table = self.table.filter(pc.equal(self.table.column("metric"), WIDE))
        seen = set()
        columns = {c: table.column(c).to_numpy(zero_copy_only=False) for c in ("timestamp", "value")}
        instances = table.column("instance").to_numpy(zero_copy_only=False)
        series = pc.cast(table.column("i"), pa.int64()).to_numpy(zero_copy_only=False)
        for instance, target in targets.items():
            if not target.wide:
                continue
            mine = instances == instance
            stamps, numbers, values = columns["timestamp"][mine], series[mine], columns["value"][mine]
            for stamp in numpy.unique(stamps):
                key = (instance, int(stamp))
                seen.add(key)
                at = stamps == stamp
                held = numpy.zeros(target.wide)
                held[numbers[at]] = values[at]
                if key not in times or not numpy.array_equal(held, wide_values(instance, times[key], target.wide).astype(float)):
                    yield (*key, "wide values differ")
        for key in times:
            if targets[key[0]].wide and key not in seen:
                yield (*key, "no wide values")
