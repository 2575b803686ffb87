"""``ganlib doctor``: is everything there that a run needs, and as it should be?"""

from __future__ import annotations

from typing import Annotated

import typer

from ganlib.cli.options import Json, complete_recipe, say
from ganlib.settings import load_settings

# Only light modules above: `ganlib --help` must not wait for boto3.


def doctor(
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            metavar="RECIPE",
            help="Whose workers the cluster must have room for.",
            show_default="what the nightly deployment trains",
            autocompletion=complete_recipe,
        ),
    ] = None,
    cancel_pending: Annotated[
        bool,
        typer.Option(
            "--cancel-pending", help="Cancel flow runs that lost their worker before they began to run."
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Look at services, credentials, disks, nodes and schedules; ends within 15 seconds.


    Each line is ok, warning, broken or skipped, with what to do. Exit status 1: something is broken.
    """
    from ganlib.doctor.examination import examine_services
    from ganlib.doctor.finding import exit_status, last_line

    findings = examine_services(load_settings(), recipe=recipe, cancel_pending=cancel_pending)
    if json:
        from ganlib.cli.output import as_json

        say(as_json([finding.model_dump(mode="json") for finding in findings]))
    else:
        from ganlib.cli.output import one_line

        for finding in findings:
            say(one_line(str(finding)))
        say(last_line(findings))
    raise typer.Exit(exit_status(findings))
