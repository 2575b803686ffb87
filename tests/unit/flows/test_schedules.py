"""Messages about schedules, and the parameters that registering keeps, without a server."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from prefect.client.schemas.actions import DeploymentUpdate
from prefect.exceptions import PrefectHTTPStatusError

from flows.deployments import bring_up_to_date
from flows.kept_parameters import merged
from flows.schedules import describe_status

DECLARED = {"recipe": "a", "name": None}


@pytest.mark.parametrize(
    ("wanted", "present", "before", "kept"),
    [
        (DECLARED, DECLARED, DECLARED, DECLARED),
        (DECLARED, {"recipe": "b", "name": None}, DECLARED, {"recipe": "b", "name": None}),
        ({"recipe": "c", "name": None}, DECLARED, DECLARED, {"recipe": "c", "name": None}),
        ({"recipe": "c"}, {"recipe": "b", "name": None}, DECLARED, {"recipe": "b"}),
        (DECLARED, {**DECLARED, "force": True}, DECLARED, {**DECLARED, "force": True}),
        (DECLARED, {"recipe": "a"}, DECLARED, {"recipe": "a"}),
        (DECLARED, {"recipe": "b"}, None, {"recipe": "b", "name": None}),
    ],
    ids=["same", "set", "declared-anew", "set-and-no-longer-declared", "added", "removed", "unknown"],
)
def test_parameters_that_were_set_on_the_server_stay_and_others_follow_the_file(
    wanted: dict[str, Any], present: dict[str, Any], before: dict[str, Any] | None, kept: dict[str, Any]
) -> None:
    assert merged(wanted, present, before) == kept


def row(**changes: Any) -> dict[str, Any]:
    on = {"slug": "nightly", "cron": "0 3 * * *", "timezone": "UTC", "active": True}
    return {"deployment": "nightly", "paused": False, "schedules": [on], "missing": [], **changes}


@pytest.mark.parametrize(
    ("one", "lines"),
    [
        (row(), ["nightly: schedule nightly is on (0 3 * * *, UTC)"]),
        (
            row(schedules=[], missing=["nightly"]),
            ["nightly: schedule nightly was deleted in Prefect; `ganlib schedule on` makes it anew"],
        ),
        (
            row(paused=True),
            [
                "nightly: schedule nightly is on, but its deployment is paused and nothing starts "
                "(0 3 * * *, UTC)",
                "nightly: the deployment is paused in Prefect; `ganlib schedule on` resumes it",
            ],
        ),
        (
            row(
                schedules=[
                    *row()["schedules"],
                    {"slug": None, "cron": None, "timezone": None, "active": True},
                ]
            ),
            [
                "nightly: schedule nightly is on (0 3 * * *, UTC)",
                "nightly: schedule unnamed is on (not a cron, None)",
                "nightly: 2 schedules are on, and each starts a run",
            ],
        ),
    ],
    ids=["on", "deleted", "paused", "second"],
)
def test_the_status_says_what_is_so(one: dict[str, Any], lines: list[str]) -> None:
    assert describe_status([one]) == lines


class Refusing:
    """A client whose server validates parameters: the flow takes the declared ones alone."""

    def __init__(self, status: int) -> None:
        self.status, self.sent = status, []

    def update_deployment(self, number: str, update: DeploymentUpdate) -> None:
        self.sent.append(update.parameters)
        if update.parameters != DECLARED:
            request = httpx.Request("PATCH", "http://prefect")
            answer = httpx.Response(self.status, request=request)
            raise PrefectHTTPStatusError("refused", request=request, response=answer)


def test_parameters_that_the_flow_no_longer_takes_give_way_and_that_is_said(
    capsys: pytest.CaptureFixture[str],
) -> None:
    client, present = Refusing(409), SimpleNamespace(id="1", name="nightly", parameters={"gone": 1})
    bring_up_to_date(client, present, {"parameters": DECLARED}, DECLARED)
    assert client.sent[-1] == DECLARED
    assert "nightly: the flow no longer takes" in capsys.readouterr().out


def test_another_failure_is_not_taken_for_it() -> None:
    client, present = Refusing(503), SimpleNamespace(id="1", name="nightly", parameters={"gone": 1})
    with pytest.raises(PrefectHTTPStatusError):
        bring_up_to_date(client, present, {"parameters": DECLARED}, DECLARED)
