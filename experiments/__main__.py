"""Everything there is to see: both notebooks replayed, and a first comparison of optimizers."""

from pathlib import Path

from experiments import classifier, command, describe, optimizers, regression
from jaxnet import report


def main(output: Path = Path("results")) -> None:
    """Replay both notebooks, audit their gradients, and compare plain SGD with Adam on both.

    Args:
        output: The folder where the pictures go.
    """
    picture = output / "optimizers.png"
    report.check_picture(picture)
    classifier.main(output=output / "classifier.png")
    print("\n")
    regression.main(output=output / "regression.png")
    print("\n")

    tasks = [
        optimizers.Task("classifier", classifier.LOSS, *classifier.set_up(), epochs=100),
        optimizers.Task("regression", regression.LOSS, *regression.set_up(), epochs=10),
    ]
    sweeps = optimizers.run(tasks)
    print("Plain SGD and Adam on both set-ups, the same learning rates for each")
    print(f"{describe(sweeps[0].provenance)}\n")
    optimizers.show(sweeps)
    print(
        "\nOne start, the training loss, and the notebooks' own number of epochs: this tells how "
        "these\ntwo set-ups train, not which optimizer is better elsewhere."
    )
    report.picture(
        picture, "Plain SGD and Adam on the notebooks' set-ups", optimizers.panels(sweeps)
    )
    print(f"\nPicture: {picture}")


if __name__ == "__main__":
    command(main, "experiments")
