"""What a directory and a server have in common."""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple, Optional, Protocol, Tuple

from . import _varve
from ._tables import MetricRows
from .errors import UnsupportedError


class Appended(NamedTuple):
    """What an append did."""

    rows: int  #: stored
    rejected: int  #: not stored; only with ``partial=True``


class Backend(Protocol):
    """What a directory and a server have in common."""

    def append(
        self, rows: MetricRows, durable: Optional[bool], partial: bool
    ) -> Tuple[int, int, List[str]]: ...

    def instant(
        self, text: str, at_ms: int, timeout_ms: Optional[int], lookback_ms: Optional[int],
        samples_max: Optional[int],
    ) -> "_varve.MetricResult": ...

    def range(
        self, text: str, start_ms: int, end_ms: int, step_ms: int, timeout_ms: Optional[int],
        lookback_ms: Optional[int], samples_max: Optional[int],
    ) -> "_varve.MetricResult": ...

    def explain(self, text: str, start_ms: int, end_ms: int, step_ms: int) -> str: ...
    def label_names(self, selector: str, start_ms: int, end_ms: int) -> List[str]: ...
    def label_values(self, name: str, selector: str, start_ms: int, end_ms: int) -> List[str]: ...
    def series(self, selector: str, start_ms: int, end_ms: int) -> List[Dict[str, str]]: ...
    def metadata(self) -> Dict[str, Dict[str, str]]: ...
    def delete_series(self, selector: str, start_ms: int, end_ms: int) -> None: ...

    def append_logs(
        self,
        streams: List[Dict[str, str]],
        numbers: Any,
        times: Any,
        unit_ns: int,
        lines: List[Any],
        metadata: Optional[List[Optional[Dict[str, str]]]],
        durable: Optional[bool],
        partial: bool,
    ) -> Tuple[int, int]: ...

    def append_spans(
        self,
        resources: List[Dict[str, Any]],
        spans: List[Tuple[Any, ...]],
        durable: Optional[bool],
        partial: bool,
    ) -> Tuple[int, int]: ...

    def logql(
        self, text: str, start_ns: int, end_ns: int, step_ns: int, limit: int, backward: bool,
        instant: bool, timeout_ms: Optional[int],
    ) -> Any: ...

    def traceql(
        self, text: str, start_ns: int, end_ns: int, step_ms: int, limit: int,
        spans_per_spanset: int, cursor: str, timeout_ms: Optional[int],
    ) -> Any: ...

    def samples(self, selector: str, start_ms: int, end_ms: int, rows: int) -> Any: ...
    def log_entries(self, selector: str, start_ns: int, end_ns: int, rows: int) -> Any: ...
    def spans(self, service: str, start_ns: int, end_ns: int) -> Any: ...
    def load(self, rows: MetricRows) -> None: ...
    def append_metadata(self, family: str, type: str, help: str, unit: str) -> None: ...
    def explain_logql(self, text: str) -> str: ...
    def explain_traceql(self, text: str) -> str: ...
    def trace(self, id: bytes) -> List[Dict[str, Any]]: ...
    def trace_logs(
        self, id: bytes, limit: int
    ) -> List[Tuple[int, Dict[str, str], str, Dict[str, str]]]: ...
    def services(self) -> List[str]: ...
    def close(self) -> None: ...
    @property
    def closed(self) -> bool: ...


class LocalBackend:
    """A directory, opened by this process."""

    def __init__(self, store: "_varve.Store") -> None:
        self.store = store
        self.append_logs = store.append_logs
        self.append_spans = store.append_spans
        self.logql = store.logql
        self.traceql = store.traceql
        self.explain_logql = store.explain_logql
        self.explain_traceql = store.explain_traceql
        self.trace = store.trace
        self.trace_logs = store.trace_logs
        self.services = store.services
        self.samples = store.samples
        self.log_entries = store.log_entries
        self.spans = store.spans
        self.append_metadata = store.append_metadata
        self.instant = store.instant
        self.range = store.range
        self.explain = store.explain
        self.label_names = store.label_names
        self.label_values = store.label_values
        self.series = store.series
        self.metadata = store.metadata
        self.delete_series = store.delete_series
        self.close = store.close

    def append(
        self, rows: MetricRows, durable: Optional[bool], partial: bool
    ) -> Tuple[int, int, List[str]]:
        ticks = rows.ticks
        return self.store.append(
            rows.series, rows.numbers, ticks.ticks, ticks.multiply, ticks.divide, rows.values,
            rows.histograms, durable, partial,
        )

    def load(self, rows: MetricRows) -> None:
        ticks = rows.ticks
        self.store.load(
            rows.series, rows.numbers, ticks.ticks, ticks.multiply, ticks.divide, rows.values,
            rows.histograms,
        )

    @property
    def closed(self) -> bool:
        return self.store.closed


def store_of(backend: Backend, what: str) -> "_varve.Store":
    """Return the open directory behind ``backend``; only that can do ``what``."""
    if isinstance(backend, LocalBackend):
        return backend.store
    raise UnsupportedError(f"{what} works on a local directory, not through a server")
