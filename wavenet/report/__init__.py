"""The report on one or several models: what is measured, and the page that shows it and lets it be heard."""

from wavenet.report.comparison import compare
from wavenet.report.model_report import ModelReport, report_on_model
from wavenet.report.page import render
from wavenet.report.settings import ReportSettings

__all__ = ["ModelReport", "ReportSettings", "compare", "render", "report_on_model"]
