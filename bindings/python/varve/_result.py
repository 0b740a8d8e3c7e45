"""Results of queries: columns that leave without being copied."""

from __future__ import annotations

import datetime as dt
import html
import math
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    Dict,
    Iterator,
    List,
    NamedTuple,
    Optional,
    Tuple,
    Union,
)

from . import _varve
from ._time import datetime_of
from .errors import UnsupportedError

if TYPE_CHECKING:
    import numpy as np
    import pandas
    import polars
    import pyarrow

KINDS = ("scalar", "string", "vector", "matrix")

#: A native histogram: ``count``, ``sum`` and ``buckets`` as (lower, upper, count).
Histogram = Dict[str, Any]


class Series:
    """One series of a result: its labels and a view of its rows.

    Iterating gives ``(datetime, value)`` pairs; ``times`` and ``values`` are NumPy views of the
    result's memory.
    """

    def __init__(self, result: "Result", index: int) -> None:
        self._result = result
        self._index = index
        self._begin, self._end = result._native.span(index)

    @property
    def labels(self) -> Dict[str, str]:
        """The label set, ``__name__`` included."""
        return self._result._native.labels(self._index)

    @property
    def name(self) -> str:
        """The metric name, or an empty text."""
        return self.labels.get("__name__", "")

    @property
    def times(self) -> "np.ndarray[Any, np.dtype[np.datetime64]]":
        """Times as ``datetime64[ms]`` (UTC), not copied."""
        return self._result.times[self._begin : self._end]

    @property
    def values(self) -> "np.ndarray[Any, np.dtype[np.float64]]":
        """Values as ``float64``, not copied; NaN where the value is a histogram."""
        return self._result.values[self._begin : self._end]

    def __len__(self) -> int:
        return self._end - self._begin

    def __iter__(self) -> Iterator[Tuple[dt.datetime, Union[float, Histogram]]]:
        for row in range(self._begin, self._end):
            time_ms, value = self._result._native.row(row)
            yield datetime_of(time_ms), value

    def __repr__(self) -> str:
        return f"<varve.Series {format_labels(self.labels)} rows={len(self)}>"


class ArrowStream:
    """Record batches that are made as they are read, so memory stays at one batch.

    Anything that speaks the Arrow PyCapsule interface reads it, once: ``polars.DataFrame(stream)``,
    ``pyarrow.table(stream)``, DuckDB. Iterating gives pyarrow record batches.
    """

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make

    @classmethod
    def begun(cls, make: Callable[[], Any]) -> "ArrowStream":
        """Make the first stream at once, so that mistakes show here and not at the first read."""
        pending = [make()]
        return cls(lambda: pending.pop() if pending else make())

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self._make()

    def reader(self) -> "pyarrow.RecordBatchReader":
        """Return a ``pyarrow.RecordBatchReader`` over the stream."""
        return _pyarrow().RecordBatchReader.from_stream(self)

    def __iter__(self) -> "Iterator[pyarrow.RecordBatch]":
        return iter(self.reader())

    def to_arrow(self) -> "pyarrow.Table":
        """Read everything into a ``pyarrow.Table``."""
        return self.reader().read_all()

    def to_polars(self) -> "polars.DataFrame":
        """Read everything into a ``polars.DataFrame``."""
        return _need("polars").DataFrame(self)

    def to_pandas(self) -> "pandas.DataFrame":
        """Read everything into a ``pandas.DataFrame`` (needs pyarrow)."""
        return self.to_arrow().to_pandas()


class Result:
    """What a query gave: series, each with rows of times and values.

    It is a sequence of :class:`Series`. As an Arrow stream it is a table with one row a value:
    ``time``, ``value``, one dictionary-encoded column a label, and ``histogram`` if there is any.
    Times and values are handed out without copying, to any number of readers.
    """

    def __init__(
        self,
        native: "_varve.MetricResult",
        query: str,
        explain: Optional[Callable[[], str]] = None,
    ) -> None:
        self._native = native
        self._explain = explain
        self.query = query

    # --- What it is ---

    @property
    def kind(self) -> str:
        """``"scalar"``, ``"string"``, ``"vector"`` (one row a series) or ``"matrix"``."""
        return KINDS[self._native.kind]

    @property
    def rows(self) -> int:
        """How many values there are, over all series."""
        return self._native.rows

    @property
    def value(self) -> Union[float, str]:
        """The value of a scalar or string query, or of a vector of one series."""
        if self.kind == "string":
            return self._native.text
        if self.rows != 1:
            raise ValueError(f"a {self.kind} of {self.rows} rows has no single value")
        value = self._native.row(0)[1]
        if not isinstance(value, float):
            raise ValueError("the value is a histogram; iterate over the series to get it")
        return value

    @property
    def warnings(self) -> List[str]:
        """Warnings of the evaluation, each once."""
        return self._native.warnings

    @property
    def infos(self) -> List[str]:
        """Remarks of the evaluation, each once."""
        return self._native.infos

    @property
    def statistics(self) -> Dict[str, Any]:
        """Counts and times: samples read, bytes held, seconds for each phase."""
        return self._native.statistics

    def explain(self, analyze: bool = False) -> str:
        """Return the plan; with ``analyze``, what each operator did when this result was made."""
        return _explained(self._native, self._explain, analyze)

    # --- As a sequence of series ---

    def __len__(self) -> int:
        return self._native.series_count

    def __getitem__(self, index: int) -> Series:
        if index < 0:
            index += len(self)
        if not 0 <= index < len(self):
            raise IndexError(f"series {index} of a result with {len(self)}")
        return Series(self, index)

    def __iter__(self) -> Iterator[Series]:
        for index in range(len(self)):
            yield Series(self, index)

    def __bool__(self) -> bool:
        return self.rows > 0 or self.kind == "string"

    # --- As columns ---

    @property
    def times(self) -> "np.ndarray[Any, np.dtype[np.datetime64]]":
        """The times of all rows as ``datetime64[ms]`` (UTC), series after series, not copied."""
        _need("numpy")
        return self._native.times_ms().view("datetime64[ms]")

    @property
    def values(self) -> "np.ndarray[Any, np.dtype[np.float64]]":
        """The values of all rows as ``float64``, series after series, not copied."""
        _need("numpy")
        return self._native.values()

    @property
    def offsets(self) -> "np.ndarray[Any, np.dtype[np.uint64]]":
        """Where each series begins: the rows of series ``i`` are ``offsets[i]:offsets[i + 1]``."""
        _need("numpy")
        return self._native.offsets()

    def to_numpy(
        self,
    ) -> "Tuple[np.ndarray[Any, np.dtype[np.datetime64]], np.ndarray[Any, np.dtype[np.float64]]]":
        """Return ``(times, values)``."""
        return self.times, self.values

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self._native.stream(1 << 20)

    def batches(self, rows: int = 65536) -> ArrowStream:
        """Stream the table in batches of at most ``rows``: label columns are made batch by batch."""
        if rows < 1:
            raise ValueError("rows must be positive")
        return ArrowStream(lambda: self._native.stream(rows))

    def by_series(self) -> ArrowStream:
        """Stream a table of one row a series, with times and values as lists, not copied."""
        return ArrowStream(self._native.series_stream)

    def to_arrow(self) -> "pyarrow.Table":
        """Return a ``pyarrow.Table``; times and values are not copied."""
        return _pyarrow().table(self)

    def to_polars(self) -> "polars.DataFrame":
        """Return a ``polars.DataFrame``; times and values are not copied."""
        return _need("polars").DataFrame(self)

    def to_pandas(self) -> "pandas.DataFrame":
        """Return a ``pandas.DataFrame``. Needs pandas and NumPy, not pyarrow."""
        pandas, numpy = _need("pandas"), _need("numpy")
        counts = numpy.diff(self.offsets.astype("int64"))
        data: Dict[str, Any] = {
            "time": pandas.DatetimeIndex(self.times).tz_localize("UTC"),
            "value": self.values,
        }
        names: Dict[str, List[Optional[str]]] = {}
        for index, series in enumerate(self):
            for name, text in series.labels.items():
                names.setdefault(name, [None] * len(self))[index] = text
        for name in sorted(names):
            column = pandas.Categorical(names[name])
            data[_free(name, data)] = pandas.Categorical.from_codes(
                numpy.repeat(column.codes, counts), dtype=column.dtype
            )
        if self._native.has_histograms:
            rows = [self._native.row(row)[1] for row in range(self.rows)]
            data["histogram"] = [row if isinstance(row, dict) else None for row in rows]
        return pandas.DataFrame(data)

    # --- For people ---

    def plot(self, ax: Any = None, **options: Any) -> Any:
        """Draw one line a series (bars for an instant vector) with matplotlib; return the axes."""
        ax = _axes(ax)
        if self.kind == "matrix":
            for series in self:
                ax.plot(series.times, series.values, label=format_labels(series.labels), **options)
            if 0 < len(self) <= 12:
                ax.legend(loc="upper left", fontsize="small")
            ax.set_xlabel("time (UTC)")
        else:
            ax.barh([format_labels(series.labels) for series in self], self.values, **options)
        ax.set_title(self.query, fontsize="medium", family="monospace")
        return ax

    def _table(self, rows_max: int) -> Tuple[List[Tuple[str, str, str]], int]:
        out: List[Tuple[str, str, str]] = []
        for series in self:
            labels = format_labels(series.labels)
            for time, value in series:
                if len(out) == rows_max:
                    return out, self.rows - rows_max
                out.append((labels, _format_time(time), format_value(value)))
        return out, 0

    def __repr__(self) -> str:
        if self.kind == "string":
            return f"<varve.Result string {self._native.text!r}>"
        lines = [f"<varve.Result {self.kind}: {len(self)} series, {self.rows} rows>"]
        table, more = self._table(10)
        widths = [max((len(row[column]) for row in table), default=0) for column in range(3)]
        for labels, time, value in table:
            lines.append(f"{labels:<{widths[0]}}  {time}  {value:>{widths[2]}}")
        if more:
            lines.append(f"... {more} more rows")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        if self.kind == "string":
            return f"<pre>{html.escape(self._native.text)}</pre>"
        table, more = self._table(50)
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
            for row in table
        )
        notes = "".join(f"<p>{html.escape(note)}</p>" for note in self.warnings + self.infos)
        return _html(self.query, ("series", "time", "value"), body, more) + notes


class LogEntry(NamedTuple):
    """A log entry that a query found."""

    time_ns: int
    line: str
    labels: Dict[str, str]

    @property
    def time(self) -> dt.datetime:
        """The time, rounded down to a millisecond; ``time_ns`` is exact."""
        return datetime_of(self.time_ns // 1_000_000)


class LogResult(ArrowStream):
    """The entries that a LogQL query found: a sequence of :class:`LogEntry`, in output order.

    As an Arrow stream, any number of times: ``time`` (ns), ``line`` and ``labels`` (a map).
    """

    def __init__(
        self, native: "_varve.LogResult", query: str, explain: Optional[Callable[[], str]] = None
    ) -> None:
        super().__init__(lambda: native.stream(65536))
        self._native = native
        self._explain = explain
        self.query = query

    @property
    def warnings(self) -> List[str]:
        """Warnings of the evaluation."""
        return self._native.warnings

    def explain(self, analyze: bool = False) -> str:
        """Return the plan; with ``analyze``, what each stage did when this result was made."""
        return _explained(self._native, self._explain, analyze)

    def __len__(self) -> int:
        return self._native.rows

    def __getitem__(self, index: int) -> LogEntry:
        if index < 0:
            index += len(self)
        if not 0 <= index < len(self):
            raise IndexError(f"entry {index} of a result with {len(self)}")
        time_ns, line, labels = self._native.entry(index)
        return LogEntry(time_ns, line.decode("utf-8", "surrogateescape"), labels)

    def __iter__(self) -> Iterator[LogEntry]:
        for index in range(len(self)):
            yield self[index]

    def __repr__(self) -> str:
        lines = [f"<varve.LogResult: {len(self)} entries>"]
        for entry in list(self)[:10]:
            lines.append(f"{_format_time(entry.time)}  {entry.line}")
        if len(self) > 10:
            lines.append(f"... {len(self) - 10} more")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        body = "".join(
            f"<tr><td>{_format_time(entry.time)}</td><td><pre>{html.escape(entry.line)}</pre></td>"
            f"<td>{html.escape(format_labels(entry.labels))}</td></tr>"
            for entry in list(self)[:50]
        )
        return _html(self.query, ("time", "line", "labels"), body, len(self) - 50)

    def plot(self, ax: Any = None, bins: int = 60, **options: Any) -> Any:
        """Draw how many entries there are over time, stacked by level; return the axes."""
        numpy = _need("numpy")
        ax = _axes(ax)
        levels: Dict[str, List[int]] = {}
        for entry in self:
            level = entry.labels.get("level") or entry.labels.get("detected_level") or "no level"
            levels.setdefault(level, []).append(entry.time_ns)
        if levels:
            times = [numpy.array(levels[level], "datetime64[ns]") for level in sorted(levels)]
            whole = numpy.concatenate(times).astype("int64")
            edges = numpy.linspace(whole.min(), whole.max() + 1, bins + 1)
            bottom = numpy.zeros(bins)
            for level, column in zip(sorted(levels), times):
                counts = numpy.histogram(column.astype("int64"), edges)[0]
                ax.bar(
                    edges[:-1].astype("datetime64[ns]"), counts, bottom=bottom, align="edge",
                    width=(edges[1] - edges[0]) / 86_400e9, label=level, **options,
                )
                bottom += counts
            ax.legend(loc="upper left", fontsize="small")
        return _title(ax, self.query, "entries")


class Trace(NamedTuple):
    """A trace that a search found."""

    trace_id: str
    root_service: str
    root_name: str
    start_ns: int
    duration_ns: int
    spans: int
    errors: int
    services: Dict[str, int]  #: spans of each
    matches: List[Dict[str, Any]]  #: spans that the query matched, with the values it names

    @property
    def start(self) -> dt.datetime:
        """The start, rounded down to a millisecond; ``start_ns`` is exact."""
        return datetime_of(self.start_ns // 1_000_000)


class TraceResult(ArrowStream):
    """The traces that a TraceQL search found: a sequence of :class:`Trace`, newest first.

    As an Arrow stream, any number of times: one row a trace.
    """

    def __init__(
        self, native: "_varve.SearchResult", query: str, explain: Optional[Callable[[], str]] = None
    ) -> None:
        super().__init__(native.stream)
        self._native = native
        self._explain = explain
        self.query = query

    def explain(self, analyze: bool = False) -> str:
        """Return the plan; with ``analyze``, what the search looked at when it ran."""
        return _explained(self._native, self._explain, analyze)

    @property
    def next(self) -> Optional[str]:
        """What to pass as ``cursor`` to get the next page; None when this was the last."""
        cursor = self._native.next
        return cursor.decode("utf-8", "surrogateescape") if cursor else None

    def __len__(self) -> int:
        return self._native.rows

    def __getitem__(self, index: int) -> Trace:
        if index < 0:
            index += len(self)
        if not 0 <= index < len(self):
            raise IndexError(f"trace {index} of a result with {len(self)}")
        return Trace(**self._native.trace(index))

    def __iter__(self) -> Iterator[Trace]:
        for index in range(len(self)):
            yield self[index]

    def __repr__(self) -> str:
        lines = [f"<varve.TraceResult: {len(self)} traces>"]
        for trace in list(self)[:10]:
            lines.append(
                f"{trace.trace_id}  {_format_time(trace.start)}  {trace.duration_ns / 1e6:.3f} ms  "
                f"{trace.spans} spans  {trace.root_service}: {trace.root_name}"
            )
        if len(self) > 10:
            lines.append(f"... {len(self) - 10} more")
        return "\n".join(lines)


    def _repr_html_(self) -> str:
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in (
                trace.trace_id, _format_time(trace.start), f"{trace.duration_ns / 1e6:.3f} ms",
                str(trace.spans), str(trace.errors), f"{trace.root_service}: {trace.root_name}",
            )) + "</tr>"
            for trace in list(self)[:50]
        )
        names = ("trace", "start", "duration", "spans", "errors", "root")
        return _html(self.query, names, body, len(self) - 50)

    def plot(self, ax: Any = None, **options: Any) -> Any:
        """Draw each trace as a point, its duration over its start, those with errors apart; return
        the axes."""
        numpy = _need("numpy")
        ax = _axes(ax)
        for failed, color in ((False, "tab:blue"), (True, "tab:red")):
            traces = [trace for trace in self if (trace.errors > 0) == failed]
            if traces:
                ax.scatter(
                    numpy.array([trace.start_ns for trace in traces], "datetime64[ns]"),
                    [trace.duration_ns / 1e6 for trace in traces],
                    **{"color": color, "label": "failed" if failed else "ok", **options},
                )
        if len(self):
            ax.legend(loc="upper left", fontsize="small")
        return _title(ax, self.query, "duration (ms)")


def _explained(native: Any, explain: Optional[Callable[[], str]], analyze: bool) -> str:
    if analyze:
        analysis: str = native.analysis()
        return analysis
    if explain is None:
        raise UnsupportedError("the plan of this result is not known")
    return explain()


def _axes(ax: Any) -> Any:
    pyplot = _need("matplotlib.pyplot")
    return pyplot.figure(figsize=(9, 4)).add_subplot() if ax is None else ax


def _title(ax: Any, query: str, what: str) -> Any:
    ax.set_title(query, fontsize="medium", family="monospace")
    ax.set_xlabel("time (UTC)")
    ax.set_ylabel(what)
    return ax


def _html(query: str, names: Tuple[str, ...], body: str, more: int) -> str:
    head = "".join(f"<th>{name}</th>" for name in names)
    rest = f"<p>... {more} more rows</p>" if more > 0 else ""
    return (
        f"<table><caption><code>{html.escape(query)}</code></caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{rest}"
    )


def format_labels(labels: Dict[str, str]) -> str:
    """Print a label set as Prometheus does.

    >>> format_labels({"__name__": "up", "job": "api"})
    'up{job="api"}'
    """
    name = labels.get("__name__", "")
    rest = ", ".join(
        f'{key}="{_escape(value)}"' for key, value in labels.items() if key != "__name__"
    )
    return name + (f"{{{rest}}}" if rest or not name else "")


def format_value(value: Union[float, Histogram]) -> str:
    """Print a value shortly but exactly."""
    if isinstance(value, dict):
        return f"histogram(count={value['count']:g}, sum={value['sum']:g})"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if math.isnan(value):
        return "NaN"
    return repr(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _format_time(time: dt.datetime) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S.") + f"{time.microsecond // 1000:03d}"


def _free(name: str, taken: Dict[str, Any]) -> str:
    while name in taken or name == "histogram":
        name += "_"
    return name


def _need(module: str) -> Any:
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError:
        package = module.split(".")[0]
        raise ImportError(f"this needs {package}: pip install {package}") from None


def _pyarrow() -> Any:
    return _need("pyarrow")
