"""Eight threads in one database, each at its own work: what check_sanitized.sh thread looks at, so
without polars, which does not start under ThreadSanitizer."""

import threading
import time

import numpy as np
import pytest

import varve
from conftest import START_MS

ROUNDS = 12
ROWS = 50
STEP = ROUNDS * ROWS
SLOW = "double_exponential_smoothing(m[5m:100ms], 0.5, 0.5)"


def run(workers):
    """Run each worker in a thread of its own; the first error is raised."""
    errors = []
    start = threading.Barrier(len(workers))

    def guarded(work):
        try:
            start.wait(60)
            work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


@pytest.mark.parametrize("background", [False, True])
def test_threads_write_read_and_care(tmp_path, background):
    span = {"start": START_MS, "end": START_MS + 60_000, "unit": "ms"}

    def times(round_):
        return [START_MS + round_ * ROWS + i for i in range(ROWS)]

    with varve.open(tmp_path / "obs", background=background, query_threads=4) as db:

        def metrics():
            for round_ in range(ROUNDS):
                for series in range(4):
                    db.metrics.append("m", {"series": str(series)}, time_ms=times(round_),
                                      values=np.arange(ROWS), durable=round_ % 3 == 0)

        def logs():
            for round_ in range(ROUNDS):
                db.logs.append({"app": str(round_ % 3)}, [f"level=info n={i} late" for i in range(ROWS)],
                               time_ms=times(round_), metadata={"user": str(round_)}, durable=round_ % 3 == 0)

        def traces():
            for round_ in range(ROUNDS):
                db.traces.append([
                    {"trace_id": f"{round_ * ROWS + i + 1:x}", "span_id": "1", "service": f"s{i % 3}", "name": "run",
                     "start": time, "duration": "3ms", "attributes": {"n": i}}
                    for i, time in enumerate(times(round_))], unit="ms", durable=round_ % 3 == 0)

        def ask_metrics():
            for _ in range(ROUNDS):
                result = db.promql("sum by (series) (count_over_time(m[1h]))", at=START_MS + 60_000, unit="ms")
                assert all(value % ROWS == 0 for value in result.values)  # batches are whole
                db.promql("rate(m[1m])", **span, step="1s").to_arrow()

        def ask_logs():
            for _ in range(ROUNDS):
                assert len(db.logql('{app=~".+"} |= "late" | logfmt | n >= 0', **span, limit=5000)) % ROWS == 0
                db.logql('sum by (app) (count_over_time({app=~".+"} |~ "n=[0-9]+" [1m]))', **span, step="10s")

        def ask_traces():
            for _ in range(ROUNDS):
                assert len(db.traceql("{ span.n >= 0 }", **span, limit=5000)) % ROWS == 0
                db.traceql("{ } | rate() by (resource.service.name)", **span, step="10s")
                db.traces.get("1")

        def care():
            for round_ in range(ROUNDS):
                db.flush()
                if round_ % 3 == 0:
                    db.compact()
                db.metrics.delete('m{series="none"}')
                assert db.verify() == []
                db.stats()
                db.sync()
            db.backup(tmp_path / "copy")

        def stream():
            for _ in range(ROUNDS):
                assert db.metrics.samples("m", rows=64).to_arrow().num_rows % ROWS == 0
                assert db.logs.entries(rows=64).to_arrow().num_rows % ROWS == 0
                assert db.traces.spans().to_arrow().num_rows % ROWS == 0
                db.metrics.series("m")
                db.metrics.label_values("series")
                db.traces.services()

        run([metrics, logs, traces, ask_metrics, ask_logs, ask_traces, care, stream])
        assert db.metrics.samples().to_arrow().num_rows == 4 * STEP
        assert db.logs.entries().to_arrow().num_rows == STEP
        assert db.traces.spans().to_arrow().num_rows == STEP
        with varve.open(tmp_path / "copy", read_only=True) as copy:
            assert copy.verify() == []


def test_threads_open_and_close(tmp_path):
    """One closes what the others use: their calls end in order or with ClosedError."""
    for round_ in range(4):
        db = varve.open(tmp_path / "obs")
        db.metrics.append("m", time_ms=START_MS + round_, values=1)
        result = db.promql("m", at=START_MS + round_, unit="ms")

        def use():
            try:
                for i in range(100):
                    db.promql("m", at=START_MS, unit="ms")
                    db.logs.append({"app": "x"}, str(i), time_ms=START_MS + i)
                    db.metrics.samples("m").to_arrow()
                    result.to_arrow()
            except varve.ClosedError:
                pass
            except Exception as error:  # a stream says it as its consumer does
                assert "closed" in str(error)

        run([use] * 7 + [db.close])
        assert db.closed and result.value == 1.0


def test_threads_of_one_kind(db):
    """Eight threads append and ask at once; nothing is lost or mixed up."""
    errors = []

    def work(number):
        try:
            for round_ in range(20):
                db.metrics.append("m", {"thread": str(number)},
                                  time_ms=np.arange(50) + round_ * 50 + START_MS,
                                  values=np.full(50, number))
                result = db.promql(f'm{{thread="{number}"}}[1h]', at=START_MS + 10_000, unit="ms")
                assert result.rows == (round_ + 1) * 50
                assert (result.values == number).all()
                assert result.to_arrow().num_rows == result.rows
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors
    assert db.promql("sum(count_over_time(m[1h]))", at=START_MS + 10_000, unit="ms").value == 8000


def test_the_interpreter_runs_during_a_query(tmp_path):
    with varve.open(tmp_path / "obs") as db:
        for i in range(200):
            db.metrics.append("m", {"i": str(i)}, time_s=range(600), values=range(600))
        outcome = []

        def query():
            try:
                db.promql(SLOW, start=300, end=600, unit="s", step=0.1, timeout=0.5,
                          max_samples=2**62)
            except varve.QueryTimeoutError:
                outcome.append("timeout")

        thread = threading.Thread(target=query)
        thread.start()
        turns = 0
        while thread.is_alive():
            time.sleep(0.005)
            turns += 1
        thread.join()
        assert outcome == ["timeout"] and turns > 10


def test_closing_waits_for_queries(tmp_path):
    db = varve.open(tmp_path / "obs")
    db.metrics.append("m", time_s=range(600), values=range(600))
    outcomes = []

    def query():
        try:
            while True:
                outcomes.append(db.promql("sum(rate(m[1m]))", start=0, end=600, unit="s").rows)
        except varve.ClosedError:
            outcomes.append("closed")

    threads = [threading.Thread(target=query) for _ in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.1)
    db.close()
    for thread in threads:
        thread.join()
    assert outcomes.count("closed") == 4
