"""Results for people: the terminal, pictures and a page (extra `experiments`)."""

from jaxnet.report.page import write_page as write_page
from jaxnet.report.panels import Curve as Curve
from jaxnet.report.panels import Panel as Panel
from jaxnet.report.panels import check_picture as check_picture
from jaxnet.report.panels import loss_curves as loss_curves
from jaxnet.report.panels import picture as picture
from jaxnet.report.pictures import plots as plots
from jaxnet.report.pictures import save_plot as save_plot
from jaxnet.report.terminal import progress as progress
from jaxnet.report.terminal import show as show
from jaxnet.report.terminal import table as table
