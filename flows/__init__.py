"""Prefect flows: the schedule and the order of the stages. Nothing else in the project imports Prefect."""
