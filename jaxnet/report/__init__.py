"""Results for people: the terminal, pictures and a page (extra `commands`)."""

from jaxnet.report.page import write_along_page, write_league_page, write_page
from jaxnet.report.panels import Curve, Panel, check_picture, loss_curves, picture
from jaxnet.report.pictures import plots, save_plot
from jaxnet.report.terminal import progress, show, show_along, show_league, table

__all__ = [
    "Curve",
    "Panel",
    "check_picture",
    "loss_curves",
    "picture",
    "plots",
    "progress",
    "save_plot",
    "show",
    "show_along",
    "show_league",
    "table",
    "write_along_page",
    "write_league_page",
    "write_page",
]
