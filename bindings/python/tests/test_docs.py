"""What the documentation shows is true."""

import doctest
import importlib
import pathlib

import pytest

import varve

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE | doctest.IGNORE_EXCEPTION_DETAIL


@pytest.mark.parametrize("name", ["varve", "varve._database", "varve._result", "varve._time", "varve._wings"])
def test_docstrings(name, tmp_path):
    module = importlib.import_module(name)
    with varve.open(tmp_path / "docs", out_of_order_window="100y") as db:
        for test in doctest.DocTestFinder().find(module):
            test.globs.update(db=db, varve=varve, tmp=tmp_path)
            results = doctest.DocTestRunner(optionflags=FLAGS).run(test)
            assert results.failed == 0, test.name


def test_readme(tmp_path, monkeypatch):
    path = pathlib.Path(__file__).resolve().parents[1] / "README.md"
    monkeypatch.chdir(tmp_path)
    results = doctest.testfile(str(path), module_relative=False, optionflags=FLAGS)
    assert results.attempted > 5 and results.failed == 0
