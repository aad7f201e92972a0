"""The report on one or several models: what is measured, and the page that shows it and lets it be heard."""

from wavenet.report.comparison import compare
from wavenet.report.examination import Examination, examine
from wavenet.report.page import render
from wavenet.report.plan import Plan

__all__ = ["Examination", "Plan", "compare", "examine", "render"]
