"""The report on one or more models: the measurements, and the page that shows and plays them."""

from wavenet.report.comparison import compare
from wavenet.report.model_report import ModelReport, report_on_model
from wavenet.report.page import render
from wavenet.report.settings import ReportSettings

__all__ = ["ModelReport", "ReportSettings", "compare", "render", "report_on_model"]
