"""The same API over a server."""

import numpy as np
import polars
import pytest

import varve
from conftest import START_MS


def test_the_same_answers(server, tmp_path):
    times = np.arange(60) * 15_000 + START_MS
    with varve.open(server) as remote, varve.open(tmp_path / "local") as local:
        for db in (remote, local):
            for number, job in enumerate(("api", 'd"b\n\\')):
                appended = db.metrics.append("requests_total", {"job": job, "utf-8.name": "é"},
                                             time_ms=times, values=30.0 * np.arange(60) * (number + 1))
                assert appended.rows == 60
            db.metrics.append_table({"t": times[-1:], "v": [float("inf")], "k": ["x"]}, name="odd",
                                    time="t", value="v", unit="ms")
        end = {"at": START_MS + 885_000, "unit": "ms"}
        for query in ("requests_total", "sum by (job) (rate(requests_total[5m]))", "odd", "1 + 1",
                      '"text"', "nothing"):
            assert repr(remote.promql(query, **end)) == repr(local.promql(query, **end)), query
        ranges = {"start": START_MS, "end": START_MS + 885_000, "unit": "ms", "step": "1m"}
        a, b = remote.promql("requests_total", **ranges), local.promql("requests_total", **ranges)
        assert polars.DataFrame(a).equals(polars.DataFrame(b))
        assert remote.metrics.names() == local.metrics.names()
        assert remote.metrics.label_names() == local.metrics.label_names()
        assert remote.metrics.label_values("job", "requests_total") == local.metrics.label_values("job")
        assert remote.metrics.series('{k="x"}') == local.metrics.series('{k="x"}')
        remote.metrics.delete('{k="x"}')
        assert remote.promql("odd", **end).rows == 0


def test_errors(server):
    db = varve.connect(server)
    with pytest.raises(varve.QuerySyntaxError) as caught:
        db.query("sum(\n  rate(x[5m)")
    assert caught.value.line == 2 and "^" in str(caught.value)
    with pytest.raises(varve.UnsupportedError, match="through a server"):
        db.flush()
    with pytest.raises(varve.VarveError, match="11,000"):
        db.promql("x", start="1970-01-01T00:00:00Z", step="1s")
    db.close()
    with pytest.raises(varve.ClosedError):
        db.query("x")


def test_no_server():
    db = varve.connect("http://127.0.0.1:9")
    with pytest.raises(varve.RemoteError, match="127.0.0.1:9"):
        db.query("up")
    for url in ("127.0.0.1:9090", "ftp://host", "http://", "http://host/?x=1"):
        with pytest.raises(ValueError):
            varve.connect(url)
