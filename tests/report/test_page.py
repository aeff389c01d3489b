"""The page of a comparison: whole, safe, readable, the same with and without a network."""

import dataclasses
import functools
import io
import itertools
import pathlib
import re
import tempfile

import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
import optax
import pytest
from drawn import BOTH, NAMES, RATE, REPLICATES, comparison
from few import first_of
from hypothesis import given
from hypothesis import strategies as st
from pages import chromium, framed, read
from rich import cells

from jaxnet import report, spaces
from jaxnet.compare import Answer, Interval, Problem, compare
from jaxnet.report import caveats, columns, page, pictures, style
from jaxnet.storage import files

NAN = float("nan")


def real():
    """A comparison that was run, of two hyperparameters, on a bowl that momentum suits."""

    def bowl(params, batch):
        return 0.5 + jnp.mean((params[None] - batch) ** 2 @ jnp.array([1.0, 0.02]))

    space = {"learning_rate": spaces.log(0.01, 1.0), "momentum": spaces.one_minus(0.0, 0.99)}

    def init(key):
        return 2 + jax.random.normal(key, (2,))

    data = jax.random.normal(jax.random.key(1), (16, 2))
    return compare(
        Problem(bowl, init, data, steps=20, batch_size=8),
        {"heavy": optax.sgd},
        tune={"heavy": space},
        budget=6,
        tuning_seeds=1,
        title="A bowl",
    )


MANY = (*NAMES, *(f"optimizer_{index}" for index in range(50 - len(NAMES))))
ODD = (
    "sgd",
    "<script>alert(1)</script>",
    "Ωmega 中文 🚀",
    "[red]$x^2$\"'&",
    "</title>#0072b2 1.2345",
)
MADE = {
    "few": lambda: comparison(lost=("rmsprop",)),
    "many": lambda: comparison(MANY, lost=("optimizer_3",)),
    "odd": lambda: comparison(ODD, judged="validation"),
    "one replicate": lambda: comparison(NAMES[:3], 1, "training", lost=("lion",)),
    "alone": lambda: comparison(NAMES[:1]),
    "two axes, all pairs": lambda: comparison(NAMES[:5], axes=BOTH, pairs="all"),
    "real": real,
}


@functools.cache
def written(name):
    """A comparison and its page."""
    done = MADE[name]()
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "page.html")
        report.write_page(done, path)
        return done, path.read_text("utf-8")


@pytest.fixture(
    params=[
        pytest.param(name, marks=[pytest.mark.slow] * (name not in ("few", "odd", "alone")))
        for name in MADE
    ]
)
def made(request):
    return written(request.param)


def test_the_reader_sees_faults():
    assert read("<p><b>x</p></b>").faults
    assert read('<p id="a" id="b"></p>').faults
    assert read("<ul><li>x</ul>").faults
    assert not read("<p>x<br><b>y</b></p>").faults


def test_the_page_is_well_formed(made):
    reader = read(made[1])
    assert reader.faults == []
    assert reader.open == []


def test_ids_are_unique_and_every_reference_finds_one(made):
    reader = read(made[1])
    ids = [attrs["id"] for _, attrs, _ in reader.tags if "id" in attrs]
    assert len(ids) == len(set(ids)) > 0
    expected = {
        name
        for _, attrs, _ in reader.tags
        for key, value in attrs.items()
        if value and key != "data-value"
        for name in (
            [value] if key == "aria-labelledby" else re.findall(r"^#(.+)$|url\(#(.+?)\)", value)
        )
        for name in ([name] if isinstance(name, str) else filter(None, name))
    }
    assert expected <= set(ids)
    assert {"verdicts"} < expected


def test_nothing_is_loaded_from_elsewhere(made):
    """Namespaces have addresses, which nobody visits."""
    text = made[1]
    without = re.sub(r'xmlns(:\w+)?="[^"]*"', "", text)
    assert "//" not in re.sub(r"^// .*$", "", without, flags=re.M)
    for tag, attrs, _ in read(text).tags:
        assert tag not in ("link", "img", "iframe", "object", "image")
        assert "src" not in attrs
        assert attrs.get("href", "#").startswith("#")
        assert attrs.get("xlink:href", "#").startswith("#")
    assert "@import" not in text


def test_every_optimizer_has_its_row_its_words_and_no_markup_of_its_own(made):
    done, text = made
    names = [answer.optimizer for answer in done.answers]
    reader = read(text)
    settings = columns.settings(done).names
    pairs = columns.matrix(done).names if done.protocol.judging.pairs == "all" else []
    assert reader.said("tbody/tr/th") == [*names, *pairs, *settings, *names]
    sentences = [answer.sentence for answer in done.answers]
    assert [words for words in reader.said("dl/dd") if words in sentences] == sentences
    assert [tag for tag, _, _ in reader.tags].count("script") == 1
    assert [tag for tag, _, _ in reader.tags].count("title") == 1
    heads = [column.name for column in columns.columns(done)]
    assert reader.said("thead/tr/th")[: 1 + len(heads)] == ["optimizer", *heads]
    notes = [attrs["title"] for tag, attrs, _ in reader.tags if tag == "th" and attrs.get("title")]
    assert notes[: len(heads)] == [column.note for column in columns.columns(done)]


def test_the_protocol_the_provenance_and_the_command_are_told_in_full(made):
    done, text = made
    said = " ".join(words for _, words in read(text).words)
    assert done.log.command in said
    stated = [done.protocol, done.protocol.tuning, done.protocol.judging, done.log.provenance]
    for name, value in itertools.chain.from_iterable(vars(each).items() for each in stated):
        assert f"{name.replace('_', ' ')} " in said.replace("\n", " ")
        if isinstance(value, str | int) and not isinstance(value, bool):
            assert str(value) in said


def test_an_optimizer_is_called_by_its_name_wherever_it_is_told(tmp_path):
    name = "noisy_sgd"
    report.write_page(comparison(("sgd", name)), tmp_path / "page.html")
    reader = read((tmp_path / "page.html").read_text("utf-8"))
    assert name in reader.said("dl/dd/dl/dt")
    assert name.replace("_", " ") not in " ".join(words for _, words in reader.words)


def test_pictures_are_part_of_the_page_with_words_as_words(made):
    done, text = made
    reader = read(text)
    drawn = [attrs for tag, attrs, _ in reader.tags if tag == "svg"]
    expected = 4 + (len(done.answers) > 1) + any(len(each.effects) > 1 for each in done.answers)
    assert len(drawn) == len(report.plots(done)) == expected
    assert all(attrs["role"] == "img" and attrs["aria-label"] for attrs in drawn)
    assert all("viewbox" in attrs and "width" not in attrs for attrs in drawn)
    written = [words for where, words in reader.words if where.endswith("/text")]
    for answer in done.answers[:7]:
        assert any(words.startswith(answer.optimizer[:17]) for words in written)
    assert "font-family" not in text[text.index("<svg") :]
    # No colour that the page cannot repaint in the dark.
    styles = "".join(attrs.get("style", "") for _, attrs, where in reader.tags if "svg" in where)
    assert "var(--ink)" in styles
    assert not re.search(r"#[0-9a-f]{6}", styles)


def test_a_colour_without_a_role_stays_as_it_is(monkeypatch):
    """Planted: the page is made, and nothing else of it is another."""
    monkeypatch.setitem(pictures.STYLE, "text.color", "#123456")
    done = MADE["alone"]()
    drawn = "".join(map(page._inline, report.plots(done)))
    assert "#123456" in drawn
    assert "var(--muted)" in drawn


@pytest.mark.slow
def test_pictures_take_no_settings_of_the_users(tmp_path):
    with mpl.rc_context({"axes.facecolor": "#123456", "font.size": 30, "lines.marker": "x"}):
        report.write_page(MADE["alone"](), tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text("utf-8") == written("alone")[1]


@pytest.mark.slow
def test_fifty_optimizers_stay_small():
    assert len(written("many")[1].encode()) < 1e6


@pytest.mark.slow
def test_equal_comparisons_make_equal_pages(tmp_path):
    report.write_page(MADE["alone"](), tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text("utf-8") == written("alone")[1]


def test_a_page_that_fails_leaves_the_old_one(tmp_path, monkeypatch):
    def full(*_):
        raise OSError("full")

    done, path = written("alone")[0], tmp_path / "page.html"
    path.write_text("old")
    monkeypatch.setattr(files.os, "replace", full)
    with pytest.raises(OSError, match="full"):
        report.write_page(done, path)
    assert [each.name for each in tmp_path.iterdir()] == ["page.html"]
    assert path.read_text() == "old"


def test_figures_are_shown_to_the_width_of_their_interval():
    def shown(*bounds):
        (answer,) = done.answers
        of = dataclasses.replace(
            done, answers=[dataclasses.replace(answer, value=Interval(*bounds))]
        )
        cells = {each.name: each.cells[0] for each in columns.columns(of)}
        return cells.get("test loss")

    done = written("alone")[0]
    assert shown(0.31243, 0.31012, 0.31521)[:2] == ("0.3124", "[0.3101, 0.3152]")
    assert shown(0.06, 0.0034, 0.5)[:2] == ("0.06", "[0.00, 0.50]")
    assert shown(1234.5, 1100.2, 1301.9)[:2] == ("1234", "[1100, 1302]")
    assert shown(1.5e-9, 1.2e-9, 1.9e-9)[:2] == ("1.5e-09", "[1.2e-09, 1.9e-09]")
    assert shown(NAN, NAN, NAN) is None


@pytest.mark.slow
def test_figures_without_an_interval_bear_two_digits_and_no_bounds():
    few = columns.columns(written("one replicate")[0])
    ratios = next(each.cells for each in few if each.name == "times sgd's")
    assert [cell[:2] for cell in ratios] == [("-", ""), ("0.94", ""), ("-", "")]


def test_the_headline_counts_and_names_the_best():
    done = written("few")[0]
    told = columns.headline(done)
    assert told.startswith(
        "Of 6 optimizers tuned and judged like plain SGD, by test loss in 20 replicates: "
        "2 better, 1 as good, 2 worse, 1 fails more often. The best, yogi: test loss 0."
    )
    estimate, low, high = done.answers[1].pair.difference
    assert told.endswith(
        f"test loss {estimate:.3f} times sgd's (96% interval {low:.3f} to {high:.3f})."
    )
    assert columns.headline(written("alone")[0]).startswith("sgd ran alone: test loss 0.3")
    assert "by training loss in 1 replicate: 2 not told apart" in columns.headline(
        written("one replicate")[0]
    )


def test_of_two_optimizers_the_headline_says_all():
    two = comparison(NAMES[:2])
    assert columns.headline(two) == (
        "Tuned and judged like plain SGD, by test loss in 20 replicates: " + two.answers[1].sentence
    )


def test_a_metric_that_is_judged_stands_once_and_what_is_higher_has_a_sign():
    done = comparison(NAMES[:3], by="accuracy", maximised=True)
    every = {column.name: column.cells for column in columns.columns(done)}
    assert "test accuracy" in every
    assert "accuracy" not in every
    assert every["difference to sgd"][1].text.startswith("+0.")
    assert "accuracy" in {column.name for column in columns.columns(comparison(NAMES[:3]))}


def test_the_target_is_told_once_with_what_counts_to_it():
    every = columns.columns(comparison(NAMES[:3], by="steps"))
    names = [column.name for column in every]
    assert names.count("steps to target") == 1
    assert "reached" not in names
    note = every[names.index("steps to target")].note
    assert re.search(r"The target is a validation loss of 0\.\d+\.$", note)


def test_caveats_are_those_that_hold():
    few, one = caveats.of(written("few")[0]), caveats.of(written("one replicate")[0])
    assert any("failed" in words and words.endswith(": rmsprop.") for words in few)
    assert any("beyond the range" in words and words.endswith(": lion.") for words in few)
    assert not any("trained on" in words or "it takes" in words for words in few)
    assert any("trained on" in words for words in one)
    assert any("1 replicate can tell none apart" in words for words in one)


def shown(done, capsys, monkeypatch, width=80):
    monkeypatch.setenv("COLUMNS", str(width))
    report.show(done)
    return capsys.readouterr().out


LONG = ("sgd", *(f"a_schedule_free_optimizer_of_a_long_name_{index}" for index in range(48)))


@pytest.mark.parametrize("width", [80, 130])
@pytest.mark.parametrize("names", [NAMES[:4], LONG[:4], LONG], ids=["3", "3 long", "48 long"])
def test_the_terminal_shows_one_table_within_80_columns(names, width, monkeypatch, capsys):
    done = comparison(names, lost=names[2:3])
    printed = shown(done, capsys, monkeypatch, width)
    lines = printed.splitlines()
    assert max(map(len, lines)) <= width
    # The command adds six: where it ran, where the report is, how to go on, and what parts them.
    assert len(lines) <= 25 - 6 or names is LONG
    (head,) = [line for line in lines if "verdict" in line]
    rows = [line for line in lines if line.endswith(f"/{REPLICATES} ")]
    assert len(rows) == min(len(names), 20)
    assert ("and 29 more, which the report has" in lines) == (names is LONG)
    first = head.index("verdict")
    folded = "".join(line[:first].strip() for line in lines[3 : lines.index("", 3)])
    for answer, row in zip(done.answers[:20], rows, strict=True):
        assert answer.optimizer in folded
        assert row[first:].startswith(answer.verdict)
        assert f" {answer.failed}/{REPLICATES}" in row
        assert f" {answer.setting['learning_rate']:.2g}{'*' * (answer.beyond > 0.5)} " in row
    assert " ".join(printed.split()).endswith(columns.headline(done))
    assert lines[0] == f"{done.log.title}: test loss, less is better"


def test_figures_without_room_beside_have_their_interval_below(monkeypatch, capsys):
    done = comparison(NAMES[:3])
    wide = Interval(1.00123, 1.00122, 1.00124)
    answers = [
        dataclasses.replace(each, pair=each.pair and each.pair._replace(difference=wide))
        for each in done.answers
    ]
    done = dataclasses.replace(done, answers=answers)
    told = ("1.001230", "[1.001220, 1.001240]")
    lines = shown(done, capsys, monkeypatch, 66).splitlines()
    figures = [line for line in lines if f" {told[0]} " in line and line.endswith("/20 ")]
    assert len(figures) == len([line for line in lines if line.strip() == told[1]]) == 2
    assert " ".join(told) in shown(done, capsys, monkeypatch, 80)


@pytest.mark.parametrize("width", [80, 130])
def test_names_of_any_letters_keep_to_the_width(width, monkeypatch, capsys):
    for line in shown(written("odd")[0], capsys, monkeypatch, width).splitlines():
        assert cells.cell_len(line) <= width


def test_what_needs_a_note_has_one(monkeypatch, capsys):
    beyond, dear = "* most replicates picked a rate beyond the range searched", "gradients of a run"
    done = comparison(("sgd", "lion"))
    assert beyond in shown(done, capsys, monkeypatch)
    plain = shown(comparison(("sgd", "adam")), capsys, monkeypatch)
    assert beyond not in plain
    assert dear not in plain
    first, second = done.answers
    done = dataclasses.replace(done, answers=[first, dataclasses.replace(second, evaluations=5e4)])
    assert f"{dear}, as a multiple of sgd's: lion 25\n" in shown(done, capsys, monkeypatch)


def test_what_cannot_run_says_why_in_the_terminal(capsys):
    done = written("alone")[0]
    lost = Answer(optimizer="boom", verdict="cannot run", sentence="boom cannot run: no way.")
    report.show(dataclasses.replace(done, answers=[*done.answers, lost]))
    assert "boom cannot run: no way." in capsys.readouterr().out


def test_the_terminal_may_know_ascii_only(monkeypatch):
    terminal = io.TextIOWrapper(io.BytesIO(), "ascii")
    monkeypatch.setattr("sys.stdout", terminal)
    report.show(written("odd")[0])
    terminal.flush()
    printed = terminal.buffer.getvalue().decode("ascii")
    assert "[red]$x^2$" in printed
    assert "?mega" in printed


@first_of("suffix", [".svg", ".png", ".pdf"])
def test_a_picture_is_saved_under_its_title(suffix, tmp_path):
    plot = report.plots(MADE["odd"]())[0]
    path = (tmp_path / plot.name).with_suffix(suffix)
    report.save_plot(plot, path)
    assert path.stat().st_size > 1000
    if suffix == ".svg":
        assert plot.title in path.read_text()
    assert plot.title not in pictures.svg(plot)


@given(
    heights=st.lists(st.floats(-1, 2), min_size=1, max_size=14).map(sorted),
    gap=st.floats(0.01, 1 / 14),
)
def test_labels_keep_their_order_and_their_distance(heights, gap):
    places = pictures._apart(np.array(heights), gap)
    assert np.all(np.diff(places) >= gap - 1e-12)
    assert places[0] >= -1e-12
    assert places[-1] <= 1 + 1e-12
    inside = np.clip(heights, 0, 1)
    if np.all(np.diff(inside) >= gap):
        np.testing.assert_allclose(places, inside, atol=1e-12)


def test_what_lies_far_out_does_not_squeeze_the_forest():
    rows = np.array([[-0.02, -0.03, -0.01], [0.01, 0.0, 0.02], [50.0, 40.0, 60.0]])
    low, high = pictures._bulk(rows, 0.0, ratio=False)
    assert -0.04 < low < -0.03
    assert 0.02 < high < 0.03
    assert pictures._bulk(rows[2:], 0.0, ratio=False)[1] > 60
    assert pictures._bulk(np.full((2, 3), NAN), 0.0, ratio=False) == (-0.1, 0.1)
    low, high = pictures._bulk(np.exp(rows), 1.0, ratio=True)
    assert 0.96 < low < 0.97
    assert 1.02 < high < 1.03


def drawn(name, which):
    done = written(name)[0]
    return done, {plot.name: plot.figure for plot in report.plots(done)}[which].axes


def test_the_forest_is_sorted_and_told_apart_without_colour():
    done, (ax,) = drawn("few", "differences")
    rows = [label.get_text() for label in ax.get_yticklabels()]
    answers = {each.optimizer: each for each in done.answers[1:]}
    assert rows == sorted(answers, key=lambda name: answers[name].pair.difference.estimate)
    marks = {
        rows[int(line.get_ydata()[0])]: (line.get_marker(), line.get_markerfacecolor())
        for line in ax.lines
        if len(line.get_ydata()) == 1
    }
    # The signs that the table has for the same verdicts.
    signs = {"▼": ("v", False), "◆": ("D", False), "▲": ("^", False), "△": ("^", True)}
    told = re.findall(
        r'<th scope="row" [^>]*>(\w+)</th><td class="word" [^>]*>(.)', written("few")[1]
    )
    assert {name: (mark, face == style.PAPER) for name, (mark, face) in marks.items()} == {
        name: signs[sign] for name, sign in told if name in answers
    }
    legend = [text.get_text() for text in ax.get_legend().get_texts()]
    assert sorted(legend) == sorted({answer.verdict for answer in answers.values()})


def test_rows_of_the_forest_that_have_no_figure_or_go_on_say_so():
    few = written("few")[0]
    wide, far = Interval(0.9, 0.1, 1.1), Interval(30.0, 20.0, 40.0)
    usual = Interval(0.9, 0.8, 1.1)
    differences = [Interval(NAN, NAN, NAN), wide, far, usual, usual, usual]
    first, *others = few.answers
    others = [
        dataclasses.replace(each, pair=each.pair._replace(difference=difference))
        for each, difference in zip(others, differences, strict=True)
    ]
    (ax,) = report.plots(dataclasses.replace(few, answers=[first, *others]))[0].figure.axes
    words = {note.get_text(): note.xy[1] for note in ax.texts}
    rows = [label.get_text() for label in ax.get_yticklabels()]
    assert words == {
        "better: no figure, as replicates failed": rows.index("yogi"),
        "30": rows.index("lion"),
    }
    arrows = {
        (line.get_marker(), rows[int(line.get_ydata()[0])])
        for line in ax.lines
        if len(line.get_ydata())
    }
    assert {("<", "adam"), (">", "lion")} <= arrows


@pytest.mark.slow
def test_the_best_few_and_plain_sgd_stand_out_of_fifty():
    done, (ax,) = drawn("many", "curves")
    assert len(ax.lines) == 50
    coloured = [line for line in ax.lines if line.get_color() != style.FAINT]
    assert len({(line.get_color(), line.get_linestyle()) for line in coloured}) == 7
    names = [answer.optimizer for answer in done.answers[:7]]
    assert sorted(note.get_text() for note in ax.texts) == sorted(names)
    assert ax.lines[0].get_color() == style.INK


def test_curves_are_medians_and_end_where_most_runs_diverged():
    done, (ax,) = drawn("few", "curves")
    runs = {each.optimizer: each for each in done.runs if each.phase == "tuned"}
    shown = {name: line.get_ydata() for name, line in zip(runs, ax.lines, strict=True)}
    np.testing.assert_allclose(shown["adam"], np.median(runs["adam"].validation["loss"], axis=0))
    np.testing.assert_array_equal(np.isfinite(shown["rmsprop"]), done.steps <= 400)
    assert "rmsprop (diverged)" in [note.get_text() for note in ax.texts]


def test_quartiles_bear_runs_that_diverged():
    losses = np.array([[4.0, np.inf], [1.0, 1.0], [3.0, np.inf], [2.0, np.inf], [5.0, 2.0]])
    found = pictures._quartiles(losses)
    np.testing.assert_array_equal(found, [[2, 2], [3, np.inf], [4, np.inf]])


def test_rates_picked_tried_and_customary_are_marked():
    """In the panel of each: a dot at what was picked, crosses where most trials diverged."""
    done, axes = drawn("few", "rates")
    front = [*done.answers[1:7], done.answers[0]]
    assert [ax.get_title("left") for ax in axes] == [answer.optimizer for answer in front]
    for ax, answer in zip(axes, front, strict=True):
        marks = {line.get_marker(): line.get_xdata() for line in ax.lines}
        middle, *half = answer.quartiles["learning_rate"]
        np.testing.assert_array_equal(marks["o"], middle)
        assert half in [
            line.get_xdata().tolist() for line in ax.lines if len(line.get_xdata()) == 2
        ]
        np.testing.assert_allclose(marks["^"], RATE["learning_rate"].at(np.array(0.25)))
        assert min(marks["x"]) > RATE["learning_rate"].at(np.array(0.8))
        assert ax.get_xscale() == ax.get_yscale() == "log"


def test_a_multiplier_is_called_so_wherever_it_is_told(tmp_path, capsys):
    """Nothing of an optimizer that is made already is called a learning rate."""
    done = comparison(NAMES[:2], axes={"multiplier": RATE["learning_rate"]})
    best = done.answers[1]
    shown = f"times {best.setting['multiplier']:.2g}"
    (to_use,) = (each for each in columns.columns(done) if each.name == "rate to use")
    assert to_use.cells[1] == (shown, "", best.setting["multiplier"], "")
    hyperparameter, *_ = columns.settings(done).columns
    assert {cell.text for cell in hyperparameter.cells} == {"multiplier"}
    assert any("multiplier of the updates in place" in words for words in caveats.of(done))
    (plot,) = (each for each in pictures.plots(done) if each.name == "rates")
    titles = {ax.get_title("left") for ax in plot.figure.axes}
    assert titles == {f"{answer.optimizer}, by multiplier" for answer in done.answers}
    report.write_page(done, tmp_path / "page.html")
    said = " ".join(words for _, words in read((tmp_path / "page.html").read_text("utf-8")).words)
    assert shown in said
    assert "learning_rate" not in said
    report.show(done)
    told = capsys.readouterr().out
    assert shown in told
    assert "times: what to multiply the updates by" in told


def test_profiles_and_best_of_are_those_of_the_runs():
    done, (ax,) = drawn("few", "profile")
    shares = {
        name: line.get_ydata()
        for name, line in zip(done.protocol.optimizers, ax.lines, strict=True)
    }
    assert shares["rmsprop"][-1] <= 0.25
    assert shares["adam"][-1] == 1
    named = [text.get_text() for text in ax.figure.legends[0].get_texts()]
    heights = [shares[name].mean() for name in named]
    assert heights == sorted(heights)[::-1]
    assert len(named) == 7
    done, (ax,) = drawn("few", "best_of")
    np.testing.assert_array_equal(ax.lines[1].get_ydata(), done.answers[1].best_of)


def test_the_profile_is_of_what_is_judged():
    """Of steps it is; of accuracies, which are turned round, there is none."""
    steps = comparison(NAMES[:3], by="steps")
    (plot,) = [plot for plot in report.plots(steps) if plot.name == "profile"]
    assert plot.figure.axes[0].get_xlabel().startswith("steps to target, as a multiple")
    accuracy = comparison(NAMES[:3], by="accuracy", maximised=True)
    assert "profile" not in [plot.name for plot in report.plots(accuracy)]


def test_what_is_maximised_is_better_at_the_right():
    done = comparison(NAMES[:4], by="accuracy", maximised=True, margin=0.0)
    (ax,) = report.plots(done)[0].figure.axes
    words = [word.strip() for word in ax.get_xlabel().split(4 * "\N{NO-BREAK SPACE}")]
    assert words == ["← worse", "test accuracy less sgd's", "better →"]
    adam = next(answer for answer in done.answers if answer.optimizer == "adam")
    assert (adam.verdict, adam.pair.difference.low > 0) == ("better", True)
    assert "test accuracy higher than sgd's by 0.0" in columns.headline(done)


def test_losses_of_zero_are_drawn_at_the_foot_of_a_logarithmic_axis():
    axis = style.matplotlib().figure.Figure().subplots()
    line = pictures._line_of(
        axis, np.arange(4), np.array([1.0, 0.01, 0.0, 0.0]), pictures._Look(style.INK, "-", 1.0, 1)
    )
    pictures._limits(axis, "y", np.array([1.0, 0.01, 0.0, 0.0]))
    low, _ = axis.get_ylim()
    assert axis.get_yscale() == "log"
    np.testing.assert_array_equal(line.get_ydata(), [1.0, 0.01, low, low])


@pytest.mark.parametrize("value", [0.0, -3.0, 5.0, 1e308])
def test_values_that_are_all_alike_have_an_axis_around_them(value):
    axis = style.matplotlib().figure.Figure().subplots()
    pictures._limits(axis, "y", np.full(3, value))
    low, high = axis.get_ylim()
    assert low < value < high


def test_effects_have_a_picture_where_more_than_the_rate_is_searched():
    assert "effects" not in [plot.name for plot in report.plots(written("few")[0])]
    done, axes = drawn("two axes, all pairs", "effects")
    answers = {answer.optimizer: answer for answer in done.answers}
    assert len(axes) == len(answers)
    for ax in axes:
        effects = answers[ax.get_title("left")].effects
        bars = {
            label.get_text(): bar.get_width()
            for label, bar in zip(ax.get_yticklabels(), ax.patches, strict=True)
        }
        assert bars == {name: max(share, 0) for name, share in effects.items()}
        assert [*bars.values()] == sorted(bars.values())[::-1]


def test_the_settings_say_what_was_picked_and_what_it_matters():
    done = written("two axes, all pairs")[0]
    rows = columns.settings(done)
    assert rows.names == [each.optimizer for each in done.answers for _ in range(2)]
    every = {column.name: column.cells for column in rows.columns}
    assert [cell.text for cell in every["hyperparameter"]] == ["learning_rate", "momentum"] * 5
    assert [cell.text for cell in every["searched"]] == ["0.001 to 1", "0 to 0.99"] * 5
    assert [cell.text for cell in every["customary"]] == ["0.00562", "0.684"] * 5
    assert [cell.text for cell in every["beyond"]][:2] == ["0%", ""]
    first = done.answers[0]
    assert every["to use"][0].text == f"{first.setting['learning_rate']:.3g}"
    middle, low, high = (f"{each:.3g}" for each in first.quartiles["learning_rate"])
    assert every["picked"][0][:2] == (middle, f"[{low}, {high}]")
    assert every["explains"][0].text == f"{first.effects['learning_rate']:.0%}"


@pytest.mark.parametrize(
    ("scale", "told", "text"),
    [
        ("ratio", 1.031, "1.031"),
        ("ratio", 1.16, "1.16"),
        ("ratio", 2.62, "2.6"),
        ("ratio", 24.3, "24"),
        ("ratio", 1.0, "-"),
        ("ratio", float("inf"), "-"),
        ("difference", 0.0123, "0.012"),
        ("difference", 0.0, "-"),
    ],
)
def test_what_would_be_told_is_in_the_unit_of_the_difference(scale, told, text):
    """Shares beside multiples in one column would compare 89% with 2.6 times."""
    (pair,) = written("two axes, all pairs")[0].pairs[:1]
    cell = columns._smallest(pair._replace(scale=scale, smallest_told=told))
    assert cell.text == text


def test_picks_among_choices_are_counted():
    choices = {
        "learning_rate": spaces.choice(0.001, 0.01, 0.1, 1.0),
        "schedule": spaces.choice(0.0, 1.0),
    }
    done = comparison(NAMES[:2], axes=choices)
    every = {column.name: column.cells for column in columns.settings(done).columns}
    picks = done.phase("tuned")["sgd"].settings["schedule"]
    counts = {"constant": np.sum(picks == 0), "cosine": np.sum(picks == 1)}
    ranked = sorted(counts.items(), key=lambda one: -one[1])
    expected = ", ".join(f"{n} \N{MULTIPLICATION SIGN} {name}" for name, n in ranked)
    assert every["picked"][1].text == expected
    assert every["searched"][1].text == "constant, cosine"


def test_all_pairs_stand_in_a_matrix_both_ways():
    done, text = written("two axes, all pairs")
    rows = columns.matrix(done)
    names = [answer.optimizer for answer in done.answers]
    assert rows.names == [column.name for column in rows.columns] == names
    cell = {
        (row, column.name): cell
        for column in rows.columns
        for row, cell in zip(rows.names, column.cells, strict=True)
    }
    mirrored = {"better": "worse", "worse": "better"}
    for pair in done.pairs:
        here, there = cell[pair.optimizer, pair.other], cell[pair.other, pair.optimizer]
        assert here.word == pair.verdict
        assert there.word == mirrored.get(pair.verdict, pair.verdict)
        if here.text:
            assert float(here.text) * float(there.text) == pytest.approx(1, rel=0.02)
    assert all(not cell[name, name].word for name in names)
    assert "Each against each" in text
    assert "Each against each" not in written("few")[1]


def test_as_good_is_not_turned_round_where_the_other_fails_more():
    pair = written("few")[0].pairs[1]._replace(verdict="as good", only=(0, 2))
    assert columns._turned(pair)[0] == "not told apart"
    assert columns._turned(pair._replace(only=(1, 1)))[0] == "as good"
    assert columns._turned(pair._replace(verdict="fails less often"))[0] == "fails more often"


WIDTHS = (320, 800, 1280)


@functools.cache
def laid_out(name):
    """How wide the page is in each window, and what it says, and what its boxes do not show."""
    script = """
        const root = page.documentElement;
        const boxes = [...page.querySelectorAll(".scroll")];
        return [root.clientWidth, root.scrollWidth,
          boxes.map((each) => each.scrollWidth - each.clientWidth)];
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        return framed(pathlib.Path(folder), written(name)[1], script, WIDTHS)


@pytest.mark.usefixtures("browser")
@first_of("name", ["odd", "many"])
def test_no_page_is_wider_than_the_screen(name):
    """The table is, inside its own box."""
    for width, (client, scrolled, beyond) in zip(WIDTHS[:2], laid_out(name)[:2], strict=True):
        assert scrolled <= client <= width
        assert beyond[0] > 0


@pytest.mark.usefixtures("browser")
@first_of("name", ["odd", "few", "two axes, all pairs"])
def test_on_a_laptop_no_table_is_wider_than_its_box(name):
    *_, beyond = laid_out(name)[-1]
    assert beyond == [0] * (4 if "pairs" in name else 3)


@pytest.mark.usefixtures("browser")
def test_a_click_sorts_and_a_second_one_turns_round(tmp_path):
    done, text = written("few")
    script = """
        const table = page.querySelector("table");
        const order = () => [...table.tBodies[0].rows].map((row) => row.cells[0].textContent);
        const heads = [...table.tHead.rows[0].cells];
        const click = (name) => {
          const head = heads.find((each) => each.textContent === name);
          head.querySelector("button").click();
          return [order(), heads.map((each) => each.getAttribute("aria-sort")).join(" ")];
        };
        return [order(), ...["optimizer", "optimizer", "times sgd's", "times sgd's",
          "verdict"].map(click)];
    """
    first, up, down, least, most, verdict = framed(tmp_path, text, script)[0]
    names = [answer.optimizer for answer in done.answers]
    assert first == names
    assert up[0] == sorted(names)
    assert down[0] == sorted(names)[::-1]
    count = len(columns.columns(done))
    assert up[1] == "ascending" + " none" * count
    assert down[1] == "descending" + " none" * count
    estimates = {each.optimizer: each.pair.difference.estimate for each in done.answers[1:]}
    assert least[0] == [*sorted(estimates, key=estimates.get), "sgd"]
    assert most[0] == [*sorted(estimates, key=estimates.get)[::-1], "sgd"]
    verdicts = {each.optimizer: each.verdict for each in done.answers}
    groups = [verdict for verdict, _ in itertools.groupby(verdict[0], verdicts.get)]
    assert groups == ["better", "as good", "worse", "fails more often", "baseline"]


@pytest.mark.usefixtures("browser")
def test_the_table_is_searched_and_filtered(tmp_path):
    """By part of a name, by a verdict, by both; what is hidden comes back, in the order sorted."""
    done, text = written("few")
    script = """
        const [search, verdict] = page.querySelectorAll(".controls input, .controls select");
        const shown = () => [...page.querySelector("tbody").rows]
          .filter((row) => row.getClientRects().length)
          .map((row) => row.cells[0].textContent);
        const type = (field, value) => {
          field.value = value;
          field.dispatchEvent(new Event("input", { bubbles: true }));
          return [shown(), page.querySelector("output").textContent];
        };
        const steps = [type(search, " ADA"), type(verdict, "better"), type(search, ""),
          type(search, "nobody"), type(search, "")];
        page.querySelector("thead button").click();
        return [shown(), ...steps, type(verdict, ""),
          [...verdict.options].map((each) => each.value),
          [...page.querySelectorAll(".controls label")].filter((each) => !each.hidden).length];
    """
    ordered, named, both, better, none, again, every, choices, labels = framed(
        tmp_path, text, script
    )[0]
    names = [answer.optimizer for answer in done.answers]
    good = [answer.optimizer for answer in done.answers if answer.verdict == "better"]
    adas = [name for name in names if "ada" in name]
    assert 0 < len(set(adas) & set(good)) < len(good)
    assert len(set(adas) - set(good)) > 0
    assert named == [adas, f"{len(adas)} of 7 shown"]
    assert both[0] == [name for name in adas if name in good]
    assert better == again == [good, f"{len(good)} of 7 shown"]
    assert none == [[], "0 of 7 shown"]
    assert ordered == sorted(good)
    assert every == [sorted(names), "7 of 7 shown"]
    assert set(choices) == {"", *(answer.verdict for answer in done.answers)}
    assert labels == 2


@pytest.mark.usefixtures("browser")
@first_of("scheme", [0, 1], ids=["dark", "light"])
def test_words_stand_out_from_the_page(scheme, tmp_path):
    """By the ratio of contrast that WCAG 2 asks of text, 4.5; in the pictures too."""
    script = """
        const light = (colour) => {
          const [r, g, b] = colour.match(/[0-9.]+/g).map((each) => each / 255)
            .map((each) => each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4);
          return 0.2126 * r + 0.7152 * g + 0.0722 * b;
        };
        const style = (each) => getComputedStyle(each);
        const paper = light(style(page.body).backgroundColor);
        const words = [...page.querySelectorAll("p, dt, dd, td, small, th, h2, figcaption, text")];
        const contrasts = words.map((each) => {
          const ink = light(each.closest("svg") ? style(each).fill : style(each).color);
          return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
        });
        return [paper, Math.min(...contrasts)];
    """
    flags = (f"--blink-settings=preferredColorScheme={scheme}",)
    paper, least = framed(tmp_path, written("few")[1], script, flags=flags)[0]
    assert paper == 1 if scheme else paper < 0.02
    assert least > 4.5


@pytest.mark.usefixtures("browser")
@pytest.mark.slow
def test_it_prints_on_as_many_pages_as_it_takes(tmp_path):
    """Nothing stays behind in the boxes that scroll: three of fifty rows are several sheets."""
    pages = {}
    for name in ("few", "many"):
        path, paper = tmp_path / f"{name}.html", tmp_path / f"{name}.pdf"
        path.write_text(written(name)[1], "utf-8")
        chromium(tmp_path, path, f"--print-to-pdf={paper}")
        pages[name] = len(re.findall(rb"/Type /Page\b(?!s)", paper.read_bytes()))
    assert pages["few"] + 4 <= pages["many"] < 22
