"""Everything there is to see: both notebooks replayed, and a comparison of optimizers."""

from pathlib import Path

from experiments import classifier, command, regression, tasks
from jaxnet import devices, report
from jaxnet.commands import compare, settings


def main(output: Path = Path("results")) -> None:
    """Replay both notebooks, audit their gradients, and hold a few optimizers against plain SGD.

    Args:
        output: The folder where pictures and the report go.
    """
    devices.use_all_cores()
    devices.first()
    report.check_picture(output / "classifier.png")
    classifier.main(output=output / "classifier.png")
    print("\n")
    regression.main(output=output / "regression.png")
    print("\n")
    contest = settings.Contest(optimizers=("momentum", "adam"))
    folder = output / "optimizers"
    with report.progress("run") as on_progress:
        result = compare.run(contest, tasks.TASKS["digits"](), folder, on_progress)
    report.write_page(result, folder / "report.html")
    compare.show(result, folder, contest.rows)


if __name__ == "__main__":
    command(main, "experiments")
