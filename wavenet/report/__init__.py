"""The report on one or several models: what is measured, and the page that shows it and lets it be heard."""

from wavenet.report.comparison import compare
from wavenet.report.examination import Examination, Plan, examine
from wavenet.report.page import render

__all__ = ["Examination", "Plan", "compare", "examine", "render"]
