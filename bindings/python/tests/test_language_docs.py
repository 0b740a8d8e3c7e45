"""The worked queries of query/docs/*.md, on the data that quickstart loads.

VARVE_UPDATE_DOCS=1 writes the answers into the pages instead of comparing them.
"""

import os
import re
import subprocess

import pytest

import varve
from conftest import END, ROOT

EXAMPLE = re.compile(r"```(promql|logql|traceql)\n(.*?)```\n```text\n(.*?)```", re.S)


def ask(language, query, store, varve_binary):
    if language == "promql":
        done = subprocess.run([varve_binary, "shell", store], input=f".at {END}\n{query}",
                              capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() not in ("", "empty"), query
        return done.stdout
    with varve.open(store, read_only=True) as db:
        span = {"start": END - 3600, "end": END, "unit": "s"}
        if language == "traceql":
            result = db.traceql(query, limit=3, **span)
        elif re.match(r"\s*\{", query):
            result = db.logql(query, limit=3, **span)
        else:
            result = db.logql(query, at=END, unit="s")
        assert len(result) > 0, query
        return f"{result!r}\n"


@pytest.mark.parametrize("language", ["promql", "logql", "traceql"])
def test_page(language, quickstart, varve_binary):
    page = ROOT / "query" / "docs" / f"{language}.md"
    text = page.read_text(encoding="utf-8")
    examples = list(EXAMPLE.finditer(text))
    assert len(examples) == 10 == text.count("\n## ")
    answers = [ask(language, example[2].strip("\n") + "\n", quickstart, varve_binary) for example in examples]
    if os.environ.get("VARVE_UPDATE_DOCS"):
        for example, answer in zip(reversed(examples), reversed(answers)):
            text = text[: example.start(3)] + answer + text[example.end(3):]
        page.write_text(text, encoding="utf-8")
        return
    for example, answer in zip(examples, answers):
        assert answer == example[3], example[2]
