"""Types of the flows' parameters, as Prefect's forms show them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ganlib.config.run import recipes

# The list is in the form's schema alone: a flow that is called with another name says itself what there is.
RecipeChoice = Annotated[str, Field(json_schema_extra={"enum": list(recipes())})]
"""Name of a recipe, which Prefect's form offers for choice."""
