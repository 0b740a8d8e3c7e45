"""Makes random PromQL for comparing servers, and the data that it asks about.

Both are drawn so that two correct servers of different versions must agree to the last few bits:
samples are multiples of 1/8, so that sums are exact in any order; whatever jumps (comparisons,
rounding, ranks, values as labels) is only applied to exact values; ends of windows never meet a
sample, except in `aligned` queries, whose windows are written for each server (see Query.text).
"""

import itertools
import random
import struct

START_MS = 1_700_000_100_000  # a multiple of a minute: 1,700,000,100 = 28,333,335 * 60
STEP_MS = 30_000
STEPS = 240
END_MS = START_MS + STEPS * STEP_MS
STALE_BITS = 0x7FF0000000000002
STALE = struct.unpack("<d", struct.pack("<Q", STALE_BITS))[0]


def make_series(rng):
    """Returns [(labels, [(time_ms, value)])], values as the 8 bytes of a double."""
    out = []

    def eighth(low, high):
        return rng.randrange(low * 8, high * 8) / 8

    def times(exact):
        for k in range(STEPS):
            yield START_MS + k * STEP_MS + (0 if exact else rng.randrange(100, 900))

    def add(name, labels, values, exact=False, holes=0.0):
        samples = []
        for t, v in zip(times(exact), values):
            if v is None or rng.random() < holes:
                continue
            samples.append((t, struct.pack("<Q", STALE_BITS) if v is STALE else struct.pack("<d", v)))
        out.append(({"__name__": name, **labels}, samples))

    def counter(low, step, reset=0.01, first=None):
        # Starts high above what a window adds, or at zero: in between, the rule for counters near
        # zero differs between versions.
        value = eighth(100_000, 200_000) if first is None else first
        for _ in range(STEPS):
            yield value
            value = eighth(low, low + 1000) if rng.random() < reset else value + eighth(0, step)

    def gauge(special=0.0, stale=0.0):
        value, gone = eighth(10, 40), 0
        for _ in range(STEPS):
            if gone:
                gone -= 1
                yield None
                continue
            if rng.random() < stale:
                gone = rng.randrange(3, 20)
                yield STALE
                continue
            value = max(1.0, value + eighth(-2, 2))
            yield rng.choice([float("nan"), float("inf"), float("-inf")]) if rng.random() < special else value

    jobs, instances, codes = ["api", "web", "db-1"], ["a:1", "b:2", "c:3", "d:4"], ["200", "404", "500"]
    for job in jobs:
        for instance in instances:
            for code in codes:
                add("requests_total", {"job": job, "instance": instance, "code": code},
                    counter(20_000, 50), holes=0.05)
            if job != "db-1":
                add("temperature", {"job": job, "instance": instance, "room": "r" + instance[0]},
                    gauge(stale=0.01), holes=0.02)
            add("build_info", {"job": job, "instance": instance, "version": rng.choice(["1.0", "1.1"])},
                (1.0 for _ in range(STEPS)))
            add("up", {"job": job, "instance": instance},
                (float(rng.random() < 0.9) for _ in range(STEPS)))
    for i in range(5):
        add("odd", {"i": str(i), "room": "ra"}, gauge(special=0.1, stale=0.02))
        add("exact", {"i": str(i), "job": jobs[i % 3]}, gauge(), exact=True, holes=0.05)
        late = rng.randrange(20, 150)
        values = list(counter(20_000, 50, reset=0, first=0.0))
        add("boots_total", {"i": str(i)}, [None] * late + values[:STEPS - late])
        add("sparse", {"i": str(i)}, (v if rng.random() < 0.05 else None for v in gauge()))
    add("no_labels", {}, gauge())
    bounds = ["0.1", "0.5", "1", "5", "+Inf"]
    for route in ["/", "/login", "/a.b"]:
        counts, sums = [0 for _ in bounds], 0.0
        columns = [[] for _ in bounds]
        sum_column = []
        for k in range(STEPS):
            total = 0
            for b in range(len(bounds)):
                counts[b] += rng.randrange(0, 8) if k > 0 else 0
                total += counts[b]
                columns[b].append(float(total))
            sums += eighth(0, 20) if k > 0 else 0
            sum_column.append(sums)
        for b, bound in enumerate(bounds):
            add("latency_bucket", {"route": route, "le": bound}, columns[b])
        add("latency_sum", {"route": route}, sum_column)
        add("latency_count", {"route": route}, columns[-1])
    return out


class Histogram:
    """A native histogram sample: counts of buckets by their index."""

    def __init__(self, schema, is_float):
        self.schema, self.is_float = schema, is_float
        self.zero_threshold, self.zero_count, self.sum = 2.0 ** -10, 0, 0.0
        self.positive, self.negative = {}, {}

    def count(self):
        return self.zero_count + sum(self.positive.values()) + sum(self.negative.values())

    def copy(self):
        out = Histogram(self.schema, self.is_float)
        out.zero_count, out.sum = self.zero_count, self.sum
        out.positive, out.negative = dict(self.positive), dict(self.negative)
        return out


def make_native_series(rng):
    """Returns series of native histograms as make_series does: counters that start high, reset to
    what is still high, gain buckets as they go; of several schemas, integer and float."""
    out = []
    for is_float, job in itertools.product([False, True], ["api", "web"]):
        for number, instance in enumerate(["a:1", "b:2", "c:3"]):
            h = Histogram([0, 2, 3][number], is_float)
            samples = []

            def restart(low):
                h.positive = {i: rng.randrange(low, 2 * low) for i in range(-4, 9)}
                h.negative = ({i: rng.randrange(low, 2 * low) for i in range(0, 3)}
                              if job == "web" else {})
                h.zero_count, h.sum = rng.randrange(low, 2 * low), rng.randrange(80 * low) / 8

            restart(20_000)
            for k in range(STEPS):
                if rng.random() < 0.01:
                    restart(5_000)
                elif k > 0:
                    for _ in range(rng.randrange(0, 6)):
                        index = rng.randrange(-4, 9) if rng.random() < 0.97 else rng.randrange(-9, 25)
                        side = h.negative if job == "web" and rng.random() < 0.2 else h.positive
                        side[index] = side.get(index, 0) + rng.randrange(1, 4)
                    h.zero_count += rng.randrange(0, 2)
                    h.sum += rng.randrange(0, 400) / 8
                if rng.random() < 0.95:
                    samples.append((START_MS + k * STEP_MS + rng.randrange(100, 900), h.copy()))
            out.append(({"__name__": "native_float" if is_float else "native", "job": job, "instance": instance}, samples))
    return out


class Expr:
    """A piece of query. `exact`: every server computes the same bits. `kind`: v vector, s scalar.
    `unique`: no two values at one time are likely equal."""

    def __init__(self, text, kind="v", exact=True, unique=False, labels=()):
        self.text, self.kind, self.exact, self.unique = text, kind, exact, unique
        self.labels = tuple(labels)


METRICS = {  # name: (labels, unique values, counter)
    "requests_total": (("job", "instance", "code"), True, True),
    "temperature": (("job", "instance", "room"), False, False),
    "build_info": (("job", "instance", "version"), False, False),
    "up": (("job", "instance"), False, False),
    "odd": (("i", "room"), False, False),
    "boots_total": (("i",), False, True),
    "sparse": (("i",), False, False),
    "no_labels": ((), False, False),
    "latency_bucket": (("route", "le"), False, True),
    "latency_count": (("route",), False, True),
    "exact": (("i", "job"), False, False),
}
VALUES = {
    "job": ["api", "web", "db-1", "none"], "instance": ["a:1", "b:2", "c:3"],
    "code": ["200", "404", "500"], "room": ["ra", "rb"], "i": ["0", "1", "4"],
    "version": ["1.0", "1.1"], "route": ["/", "/login"], "le": ["0.5", "1", "+Inf"],
}
REGEXES = {
    "job": ["api|web", ".*", "db.*", ".+b", "[^a].*", ""], "instance": ["[ab]:.", "a:1|d:4", ".*2"],
    "code": ["2..", "4..|5..", "(200|500)"], "room": ["r[a-c]", ".*"], "i": ["[0-2]", "1|3"],
    "version": ["1\\\\..", "1.1"], "route": ["/.+", "/a\\\\.b"], "le": ["0\\\\..*", ".*Inf"],
}
ANY_OVER_TIME = ["count_over_time", "min_over_time", "max_over_time", "sum_over_time",
                 "last_over_time", "present_over_time", "changes", "resets"]
INEXACT_OVER_TIME = ["avg_over_time", "stddev_over_time", "stdvar_over_time", "deriv"]
RATES = ["rate", "increase", "irate", "idelta", "delta"]


class Generator:
    def __init__(self, rng, aligned):
        self.rng, self.aligned = rng, aligned

    def chance(self, p):
        return self.rng.random() < p

    def duration(self, low, high):
        """A whole number of seconds, or of half minutes where windows are to meet samples."""
        seconds = self.rng.randrange(low, high)
        if self.aligned:
            seconds = max(60, seconds // 30 * 30)
        return seconds

    def window(self, low=60, high=1800):
        return f"<{self.duration(low, high)}>"

    def modifiers(self):
        out = ""
        if self.chance(0.15):
            out += f" offset {self.rng.choice(['', '', '-'])}{self.duration(10, 900)}s"
        if self.chance(0.07):
            at = START_MS // 1000 + self.rng.randrange(600, STEPS * 30)
            at = f"{at // 30 * 30}" if self.aligned else f"{at}.017"
            out += " @ " + self.rng.choice([at, "start()", "end()"])
        return out

    def matchers(self, metric):
        labels = METRICS[metric][0]
        out = []
        for label in labels:
            if not self.chance(0.3):
                continue
            if self.chance(0.5):
                op, value = self.rng.choice(["=", "!="]), self.rng.choice(VALUES[label])
            else:
                op, value = self.rng.choice(["=~", "!~"]), self.rng.choice(REGEXES[label])
            out.append(f'{label}{op}"{value}"')
        if self.chance(0.05):
            out.append(self.rng.choice(['absent_label=""', 'absent_label!="x"', 'job=~".*"']))
        if self.chance(0.05):
            # The name as a matcher.
            return "{" + ",".join([f'__name__="{metric}"'] + out) + "}"
        return metric + ("{" + ",".join(out) + "}" if out else "")

    def metric(self, only=None):
        if only:
            return self.rng.choice(only)
        if self.aligned and self.chance(0.7):
            return "exact"
        return self.rng.choice(list(METRICS))

    def selector(self, only=None, modifiers=True):
        metric = self.metric(only)
        labels, unique, _ = METRICS[metric]
        return Expr(self.matchers(metric) + (self.modifiers() if modifiers else ""),
                    unique=unique, labels=labels)

    def range_vector(self, depth, subquery=0.2, exact=False):
        """Returns text, whether exact, labels."""
        if depth > 0 and self.chance(subquery):
            inner = self.vector(depth - 1, exact=exact)
            step = self.rng.choice([10, 15, 30, 60, 77]) if not self.aligned else self.rng.choice([30, 60])
            text = f"({inner.text})" if not inner.text.endswith(")") or " " in inner.text else inner.text
            step_text = self.rng.choice([f"{step}s", f"{step}s", ""]) if self.chance(0.9) else ""
            return f"{text}[{self.window(60, 900)}:{step_text}]{self.modifiers()}", inner.exact, inner.labels
        metric = self.metric()
        return (f"{self.matchers(metric)}[{self.window()}]{self.modifiers()}", True, METRICS[metric][0])

    def grouping(self, labels):
        if self.chance(0.25):
            return "", ()
        word = self.rng.choice(["by", "without"])
        pool = list(dict.fromkeys(list(labels) + ["job"]))
        chosen = self.rng.sample(pool, self.rng.randrange(0, min(3, len(pool)) + 1))
        rest = tuple(x for x in labels if (x in chosen) == (word == "by"))
        return f" {word} ({', '.join(chosen)}) ", rest

    def scalar(self, depth):
        pick = self.rng.randrange(8)
        if pick < 3:
            return str(self.rng.choice([0, 1, 2, 3, 0.5, -1, 100, "1e3", "Inf", "0x10"]))
        if pick == 3:
            return self.rng.choice(["pi()", "(1 + 2)", "(2 ^ 3)", "-(4)", "(10 % 4)"])
        if pick == 4 and depth > 0:
            return f"scalar({self.vector(depth - 1, exact=True).text})"
        if pick == 5:
            return f"({START_MS // 1000} - time())"
        return str(self.rng.randrange(0, 40))

    def vector(self, depth, exact=False):
        """Returns a vector; with `exact`, one whose values are the same on every server."""
        if depth <= 0:
            return self.selector()
        make = self.rng.choices(
            [self.selector, self.over_time, self.rates, self.function, self.aggregate, self.ranked,
             self.arithmetic, self.comparison, self.sets, self.labelled, self.quantile, self.special],
            weights=[1, 3, 2, 2, 4, 1.5, 3, 2, 2, 1, 1.5, 1])[0]
        if make == self.selector:
            return self.selector()
        for _ in range(20):
            out = make(depth)
            if out is not None and (out.exact or not exact):
                return out
        return self.selector()

    def over_time(self, depth):
        function = self.rng.choice(ANY_OVER_TIME + INEXACT_OVER_TIME +
                                   ["quantile_over_time", "predict_linear", "holt_winters", "absent_over_time"])
        jumps = function in ("changes", "resets")
        text, exact, labels = self.range_vector(depth, exact=jumps)
        if function == "absent_over_time":
            return Expr(f"absent_over_time({text})", exact=True)
        if function == "quantile_over_time":
            q = self.rng.choice(["0", "0.5", "0.9", "1", "-1", "2", "0.25"])
            return Expr(f"quantile_over_time({q}, {text})", exact=False, labels=labels)
        if function == "predict_linear":
            if "@" in text.split("]")[-1]:
                return None  # a rule
            return Expr(f"predict_linear({text}, {self.rng.randrange(0, 3600)})", exact=False, labels=labels)
        if function == "holt_winters":
            return Expr(f"holt_winters({text}, 0.{self.rng.randrange(1, 9)}, 0.{self.rng.randrange(1, 9)})",
                        exact=False, labels=labels)
        return Expr(f"{function}({text})", exact=exact and function in ANY_OVER_TIME, labels=labels)

    def rates(self, depth):
        # What windows extrapolate to depends on their length to the millisecond.
        function = self.rng.choice(["irate", "idelta"] if self.aligned else RATES)
        only = ["requests_total", "boots_total", "latency_bucket", "latency_count"]
        if function in ("idelta", "delta") and self.chance(0.5):
            only = ["temperature", "odd", "sparse"]
        if self.chance(0.1) and depth > 1 and not self.aligned:
            text, _, labels = self.range_vector(depth, subquery=1, exact=True)
        else:
            metric = self.rng.choice(only)
            text, labels = f"{self.matchers(metric)}[{self.window(90)}]{self.modifiers()}", METRICS[metric][0]
        return Expr(f"{function}({text})", exact=False, labels=labels)

    def function(self, depth):
        jumps = self.chance(0.4)
        inner = self.vector(depth - 1, exact=jumps)
        if jumps:
            call = self.rng.choice(["floor", "ceil", "sgn", "round", "round_to", "hour", "minute", "month",
                                    "day_of_week", "day_of_month", "days_in_month", "day_of_year", "year"])
            if call == "round_to":
                return Expr(f"round({inner.text}, {self.rng.choice(['0.5', '5', '0.25', '10'])})",
                            labels=inner.labels)
            return Expr(f"{call}({inner.text})", labels=inner.labels)
        call = self.rng.choice(["abs", "sqrt", "exp", "ln", "log2", "log10", "deg", "rad", "sin", "cos",
                                "atan", "tanh", "asinh", "neg", "clamp", "clamp_min", "clamp_max", "sort",
                                "sort_desc"])
        if call == "neg":
            return Expr(f"-({inner.text})", exact=inner.exact, labels=inner.labels)
        if call == "clamp":
            low = self.rng.randrange(0, 30)
            return Expr(f"clamp({inner.text}, {low}, {low + self.rng.randrange(-2, 30)})",
                        exact=inner.exact, labels=inner.labels)
        if call.startswith("clamp"):
            return Expr(f"{call}({inner.text}, {self.rng.randrange(0, 30)})", exact=inner.exact,
                        labels=inner.labels)
        if call in ("sin", "cos", "exp") and not inner.exact:
            call = "abs"  # they magnify
        return Expr(f"{call}({inner.text})", exact=inner.exact and call in ("abs", "sort", "sort_desc"),
                    labels=inner.labels)

    def aggregate(self, depth):
        inner = self.vector(depth - 1)
        op = self.rng.choice(["sum", "sum", "count", "min", "max", "group", "avg", "stddev", "stdvar",
                              "quantile", "count_values"])
        group, rest = self.grouping(inner.labels)
        if op == "count_values":
            if not inner.exact:
                return None
            return Expr(f'count_values{group}("v", {inner.text})', labels=rest + ("v",))
        if op == "quantile":
            q = self.rng.choice(["0", "0.5", "0.9", "1", "-1", "2", "0.25"])
            return Expr(f"quantile{group}({q}, {inner.text})", exact=False, labels=rest)
        if op.startswith("std"):
            if "time" in inner.text:
                return None  # large numbers, of which too few digits differ
            # What a single infinity or NaN deviates by differs between versions.
            inner = Expr(f"{wrap(inner)} > -1e12 < 1e12", exact=inner.exact, labels=inner.labels)
        after = self.chance(0.3) and group
        text = f"{op}({inner.text}){group}" if after else f"{op}{group}({inner.text})"
        exact = op in ("count", "group") or (inner.exact and op in ("sum", "min", "max"))
        return Expr(text, exact=exact, labels=rest)

    def ranked(self, depth):
        # Who wins among equals is not written anywhere, so only unequal values are ranked.
        inner = self.selector(["requests_total"])
        if self.chance(0.4):
            inner = Expr(f"max_over_time({self.matchers('requests_total')}[{self.window()}])",
                         labels=METRICS["requests_total"][0])
        group, _ = self.grouping(inner.labels)
        k = self.rng.choice(["1", "2", "5", "100", "0", "-1"])
        return Expr(f"{self.rng.choice(['topk', 'bottomk'])}{group}({k}, {inner.text})",
                    unique=True, labels=inner.labels)

    def matching(self, left, right):
        """Picks on/ignoring and perhaps group_left/right; often wrong, as people's are."""
        shared = [x for x in left.labels if x in right.labels]
        if self.chance(0.3):
            return ""
        if self.chance(0.6):
            chosen = shared if self.chance(0.7) else self.rng.sample(shared, self.rng.randrange(0, len(shared) + 1))
            text = f" on ({', '.join(chosen)})"
        else:
            extra = [x for x in set(left.labels) ^ set(right.labels)]
            text = f" ignoring ({', '.join(sorted(extra))})"
        if self.chance(0.4):
            text += self.rng.choice([" group_left", " group_right"])
            if self.chance(0.3):
                text += f" ({self.rng.choice(['version', 'room', 'job'])})"
        return text

    def pair(self, depth, exact):
        """Two vectors that are likely to match."""
        if self.chance(0.4):
            left = Expr(self.matchers("requests_total"), labels=METRICS["requests_total"][0])
            other = self.rng.choice(["build_info", "up", "temperature"])
            right = Expr(self.matchers(other), labels=METRICS[other][0])
            if self.chance(0.5):
                left = Expr(f"sum by (job, instance) ({left.text})", labels=("job", "instance"))
            if self.chance(0.3):
                left, right = right, left
            return left, right
        left = self.vector(depth - 1, exact=exact)
        if self.chance(0.3):
            return left, left
        return left, self.vector(depth - 1, exact=exact)

    def arithmetic(self, depth):
        op = self.rng.choice(["+", "*", "/", "-", "%", "^", "atan2"])
        jumps = op in ("-", "%", "^")
        if self.chance(0.4):
            inner = self.vector(depth - 1, exact=jumps)
            scalar = self.scalar(depth - 1)
            if op == "atan2":
                inner = Expr(f"{wrap(inner)} + 0", exact=inner.exact, labels=inner.labels)
            text = f"{scalar} {op} {wrap(inner)}" if self.chance(0.4) else f"{wrap(inner)} {op} {scalar}"
            return Expr(text, exact=inner.exact and op in ("+", "-", "*"), labels=inner.labels)
        left, right = self.pair(depth, exact=True)
        if not (left.exact and right.exact):
            return None
        if op == "atan2":
            left = Expr(f"{wrap(left)} + 0", exact=left.exact, labels=left.labels)
            right = Expr(f"{wrap(right)} + 0", exact=right.exact, labels=right.labels)
        return Expr(f"{wrap(left)} {op}{self.matching(left, right)} {wrap(right)}",
                    exact=op in ("+", "-"), labels=left.labels)

    def comparison(self, depth):
        op = self.rng.choice(["==", "!=", ">", "<", ">=", "<="]) + self.rng.choice(["", " bool"])
        if self.chance(0.6):
            inner = self.vector(depth - 1, exact=True)
            scalar = self.scalar(depth - 1)
            text = f"{scalar} {op} {wrap(inner)}" if self.chance(0.4) else f"{wrap(inner)} {op} {scalar}"
            return Expr(text, exact=inner.exact, labels=inner.labels)
        left, right = self.pair(depth, exact=True)
        return Expr(f"{wrap(left)} {op}{self.matching(left, right)} {wrap(right)}",
                    exact=left.exact, labels=left.labels)

    def sets(self, depth):
        left, right = self.pair(depth, exact=False)
        matching = self.matching(left, right).split(" group_")[0]
        return Expr(f"{wrap(left)} {self.rng.choice(['and', 'or', 'unless'])}{matching} {wrap(right)}",
                    exact=left.exact and right.exact, labels=left.labels)

    def labelled(self, depth):
        inner = self.vector(depth - 1)
        label = self.rng.choice(inner.labels or ("job",))
        if self.chance(0.6):
            pattern = self.rng.choice(["(.*)", "(.).*", "([a-z]+).(.)", "nothing", "(?P<x>.+)", ".*"])
            to = self.rng.choice(["$1", "x-$1", "", "${1}y", "fixed", "$2$1"])
            target = self.rng.choice([label, "new", "job", "__name__"])
            return Expr(f'label_replace({inner.text}, "{target}", "{to}", "{label}", "{pattern}")',
                        exact=inner.exact, labels=inner.labels)
        return Expr(f'label_join({inner.text}, "new", "-", "{label}", "job")', exact=inner.exact,
                    labels=inner.labels + ("new",))

    def quantile(self, depth):
        q = self.rng.choice(["0.5", "0.9", "0.99", "0", "1", "-0.5", "1.5"])
        source = self.rng.choice(["latency_bucket" + self.modifiers(), None, None])
        if source is None:
            rate = "increase" if self.aligned else "rate"
            if self.aligned:
                source = f"latency_bucket{self.modifiers()}"
            else:
                source = f"{rate}({self.matchers('latency_bucket')}[{self.window(120)}]{self.modifiers()})"
            if self.chance(0.5):
                source = f"sum by ({self.rng.choice(['le', 'le, route'])}) ({source})"
        return Expr(f"histogram_quantile({q}, {source})", exact=False, labels=("route",))

    def special(self, depth):
        pick = self.rng.randrange(6)
        if pick == 0:
            return Expr(f"absent({self.vector(depth - 1).text})")
        if pick == 1:
            selector = self.selector()
            if "@" in selector.text and "offset" in selector.text:
                return None  # a rule
            return Expr(f"timestamp({selector.text})", labels=())
        if pick == 2:
            return Expr(f"vector({self.scalar(depth)})", exact=False)
        if pick == 3:
            return Expr(f"timestamp({wrap(self.vector(depth - 1))})", exact=True)
        if pick == 4:
            return Expr("vector(time())", exact=True)
        return Expr(f"({self.vector(depth - 1).text})", exact=False)


def wrap(expr):
    return f"({expr.text})" if " " in expr.text or expr.text.startswith("-") else expr.text


class Query:
    """One question: an expression and its times."""

    tolerance = 1e-9

    def __init__(self, seed):
        rng = random.Random(seed)
        self.aligned = rng.random() < 0.15
        generator = Generator(rng, self.aligned)
        expression = generator.vector(rng.choice([1, 2, 2, 3, 3, 4]))
        self.expression = expression.text
        self.exact = expression.exact
        self.range = rng.random() < 0.5
        start = rng.randrange(300, STEPS * 30 + 600)
        if self.aligned:
            start = start // 30 * 30
        else:
            start += 0.013
        self.start = START_MS // 1000 + start
        self.step = rng.choice([30, 60, 90] if self.aligned else [7, 30, 60, 61, 300])
        self.end = self.start + self.step * rng.randrange(0, 25)

    def text(self, left_open):
        """Writes the query for a server whose windows are open or closed at the left end: `(t-r, t]`
        equals `[t-(r-1ms), t]`, since times are whole milliseconds."""
        out, rest = "", self.expression
        while "<" in rest:
            at = rest.index("<")
            end = rest.find(">", at)
            digits = rest[at + 1:end] if end > 0 else ""
            if digits.isdigit():
                seconds = int(digits)
                out += rest[:at] + (f"{seconds}s" if left_open or not self.aligned
                                    else f"{seconds * 1000 - 1}ms")
                rest = rest[end + 1:]
            else:
                out += rest[:at + 1]
                rest = rest[at + 1:]
        out += rest
        return out.replace("holt_winters", "double_exponential_smoothing") if left_open else out

    def parameters(self, left_open):
        out = {"query": self.text(left_open)}
        if self.range:
            out.update(start=f"{self.start:.3f}", end=f"{self.end:.3f}", step=str(self.step))
        else:
            out["time"] = f"{self.start:.3f}"
        return out


class NativeQuery(Query):
    """A question about native histograms: what 2.42 can do with them."""

    def __init__(self, seed):
        super().__init__(seed)
        self.rng = random.Random(f"native {seed}")
        self.aligned = False
        self.exact = False
        self.start = START_MS // 1000 + self.rng.randrange(300, STEPS * 30 + 600) + 0.013
        self.step = self.rng.choice([7, 30, 60, 61, 300])
        self.end = self.start + self.step * self.rng.randrange(0, 25)
        self.expression = self.floats() if self.rng.random() < 0.7 else self.histograms(2)
        if "histogram_quantile" in self.expression:
            self.tolerance = 0.5 + 1e-9

    def pick(self, *choices):
        return self.rng.choice(choices)

    def matchers(self):
        return self.pick("native", "native", "native_float") + self.pick("", "", '{job="api"}', '{job!="api"}', '{instance=~"[ab]:."}',
                                    '{instance="c:3",job="web"}', '{job="none"}')

    def modifiers(self):
        return self.pick("", "", "", f" offset {self.rng.randrange(10, 900)}s",
                         f" @ {START_MS // 1000 + self.rng.randrange(600, STEPS * 30)}.017", " @ end()")

    def window(self):
        return f"{self.matchers()}[{self.rng.randrange(90, 1800)}s]{self.modifiers()}"

    def histograms(self, depth):
        """Returns an expression whose elements are histograms."""
        kind = self.rng.randrange(7 if depth > 0 else 3)
        if kind == 0:
            return self.matchers() + self.modifiers()
        if kind < 3:
            return f"{self.pick('rate', 'increase')}({self.window()})"
        if kind < 6:
            group = self.pick("", " by (job) ", " by (instance) ", " without (job) ", " by (none) ")
            return f"sum{group}({self.histograms(depth - 1)})"
        return f"({self.histograms(0)}) {self.pick('+', 'and', 'or', 'unless')} ({self.histograms(0)})"

    def floats(self):
        """Returns an expression whose elements are floats."""
        kind = self.rng.randrange(12)
        if kind < 2:
            text = f"histogram_count({self.histograms(2)})"
        elif kind < 4:
            text = f"histogram_sum({self.histograms(2)})"
        elif kind < 8:
            q = self.pick("0.053", "0.317", "0.523", "0.777", "0.901", "0.991", "-1", "2")
            return f"histogram_quantile({q}, {self.histograms(2)})"
        elif kind < 10:
            low, high = sorted(self.rng.sample(range(-6, 8), 2))
            text = f"histogram_fraction({2.0 ** low}, {2.0 ** high}, {self.histograms(2)})"
        elif kind == 10:
            text = f"{self.pick('count', 'group')} by (job) ({self.histograms(1)})"
        else:
            text = self.pick(f"count_over_time({self.window()})", f"present_over_time({self.window()})",
                             f"timestamp({self.matchers()})", f"absent({self.histograms(0)})",
                             f"absent_over_time({self.window()})")
        return text + self.pick("", "", " * 2", " + 1", " > 0")

    def text(self, left_open):
        return self.expression
