"""Filters of the run's pages: numbers as reviewers read them."""

from django import template

from evals.reporting import wording

__all__ = ["register"]

register = template.Library()
register.filter("points", wording.as_points)
register.filter("bare_points", wording.as_bare_points)
register.filter("share", wording.as_share)
register.filter("factor", wording.as_factor)
register.filter("money", wording.as_money)
register.filter("duration", wording.as_duration)
register.filter("metric", wording.as_metric)
register.filter("measure", wording.as_measure)
register.filter("change_of", wording.as_change)
