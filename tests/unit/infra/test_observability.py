"""The files of ``infra/observability``, as Prometheus' own tool reads them and beside the code's metrics."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_package import Programs, dashboard_queries

from ganlib.cluster.metrics import METRICS

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "infra" / "observability"
RULES = FOLDER / "rules.yml"
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "grafana-dashboard.json").read_text())
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
GRAPHS = [panel for panel in PANELS if panel["type"] != "row"]
PAGE = (ROOT / "docs" / "observability.md").read_text()
OURS = re.compile(r"\bray_ganlib_\w+")


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def expressions() -> list[str]:
    return [
        query
        for queries in dashboard_queries(FOLDER / "grafana-dashboard.json").values()
        for query in queries
    ]


@pytest.mark.slow
def test_prometheus_takes_the_configuration_the_alerts_and_the_dashboards_queries(
    prometheus_programs: Programs, tmp_path: Path
) -> None:
    def check(*words: str) -> None:
        done = subprocess.run(
            [prometheus_programs.promtool, *words],
            cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr

    # By its syntax: the password's file is elsewhere.
    check("check", "config", "--syntax-only", str(FOLDER / "prometheus.yml"))
    check("check", "rules", str(RULES))
    cases = yaml.safe_load(Path(__file__).with_name("alert_cases.yml").read_text())
    assert {case["alertname"] for test in cases["tests"] for case in test["alert_rule_test"]} == {
        rule["alert"] for rule in alerts()
    }
    (tmp_path / "cases.yml").write_text(yaml.safe_dump({"rule_files": [str(RULES)], **cases}))
    check("test", "rules", "cases.yml")
    recorded = [{"record": f"query:{n}", "expr": query} for n, query in enumerate(expressions())]
    (tmp_path / "queries.yml").write_text(yaml.safe_dump({"groups": [{"name": "q", "rules": recorded}]}))
    check("check", "rules", "queries.yml")


def test_every_metric_has_a_graph_and_every_graph_a_metric_that_the_code_defines() -> None:
    exported = {metric.exported for metric in METRICS}
    assert {name for query in expressions() for name in OURS.findall(query)} == exported
    variables = [str(variable["query"]) for variable in DASHBOARD["templating"]["list"]]
    named = {name for text in (*variables, RULES.read_text()) for name in OURS.findall(text)}
    assert named <= exported


def test_rays_own_metrics_are_those_of_the_installed_ray() -> None:
    import ray.dashboard.modules.reporter as reporter

    source = (Path(reporter.__path__[0]) / "reporter_agent.py").read_text()
    named = {name for query in expressions() for name in re.findall(r"\bray_(node_\w+)", query)}
    assert named
    assert [name for name in sorted(named) if f'"{name}"' not in source] == []


def test_every_graph_has_a_title_a_description_a_unit_and_a_place_of_its_own() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    for panel in GRAPHS:
        assert panel["title"]
        assert panel["description"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    taken: set[tuple[int, int]] = set()
    for panel in PANELS:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


def test_grafana_finds_the_data_source_that_it_is_given() -> None:
    [source] = yaml.safe_load((FOLDER / "grafana-provisioning/datasources/datasource.yml").read_text())[
        "datasources"
    ]
    assert (source["type"], source["isDefault"]) == ("prometheus", True)
    [provider] = yaml.safe_load((FOLDER / "grafana-provisioning/dashboards/dashboards.yml").read_text())[
        "providers"
    ]
    assert provider["options"]["path"].startswith("/")


def test_every_alert_says_what_it_is_and_what_helps() -> None:
    for rule in alerts():
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert {"summary", "description"} <= rule["annotations"].keys()


def test_the_page_has_a_row_for_every_metric_and_every_alert() -> None:
    rows = set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE))
    assert rows == {metric.name for metric in METRICS} | {rule["alert"] for rule in alerts()}
