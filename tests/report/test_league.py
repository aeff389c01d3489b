"""The league in words, in pictures and on its page."""

import functools
import itertools
import math
import pathlib
import re
import tempfile

import numpy as np
import pytest
from few import first_of
from pages import chromium, framed, read

from jaxnet import report
from jaxnet.compare import league as leagues
from jaxnet.report import league, pictures, style

INF, NAN = math.inf, math.nan
WORDS = ("better", "worse", "as good", "not told apart", "fails more often", "fails less often")


def made(tasks, optimizers):
    """A league made up: every verdict, a difference to match; the last two do not run always."""
    rng = np.random.default_rng(0)
    lean = rng.normal(0, 0.3, optimizers)
    differences = lean + rng.normal(0, 0.3, (tasks, optimizers))
    differences[:, 0] = 0
    verdicts = [["baseline"] * optimizers for _ in range(tasks)]
    for task, index in itertools.product(range(tasks), range(1, optimizers)):
        difference, word = differences[task, index], WORDS[(task + 5 * index) % 6]
        if word == "fails more often":
            differences[task, index] = INF
        elif word != "fails less often":
            side = "better" if difference < 0 else "worse"
            word = side if abs(difference) > 0.2 else "as good"
            word = word if abs(difference) > 0.04 or word != "as good" else "not told apart"
        verdicts[task][index] = word
    if optimizers > 4:
        for index in (-1, -2):
            differences[1, index], verdicts[1][index] = NAN, "cannot run"
    return leagues.of(
        tasks=[f"task_{index}" for index in range(tasks - 1)] + ['<i>last</i> & "best"'],
        optimizers=["sgd", *(f"<b>rule</b>_{index}" for index in range(1, optimizers))],
        baseline="sgd",
        scores=np.exp(differences),
        verdicts=verdicts,
        differences=differences,
        errors=np.zeros((tasks, optimizers)),
    )


MADE = {"few": lambda: made(4, 4), "many": lambda: made(16, 48)}


@functools.cache
def written(name):
    """A league and its page."""
    done = MADE[name]()
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "page.html")
        report.write_league_page(done, path, "Rules on <tasks>", "jaxnet compare --task all")
        return done, path.read_text("utf-8")


@pytest.fixture(params=MADE)
def any_league(request):
    return written(request.param)


def shown_names(done):
    """By average rank, those without one last."""
    names = np.array(done.optimizers)
    return names[np.argsort(np.nan_to_num(done.average_ranks, nan=99), kind="stable")].tolist()


def test_the_headline_counts_and_names_the_best():
    done = written("many")[0]
    words = [done.overall.count(word) for word in ("better", "as good", "worse", "not told apart")]
    told = league.headline(done)
    assert told.startswith(
        f"Against plain SGD, over 16 tasks: of 47 optimizers {words[0]} better, {words[1]} as good "
        f"and {words[2]} worse on most tasks like these with a probability of at least 99.9%; "
        f"{words[3]} not told apart. Against each other, by ranks alone: "
    )
    assert sum(words) == 47
    best = shown_names(done)[0]
    rivals = np.sum(done.average_ranks - np.nanmin(done.average_ranks) < done.critical_difference)
    place = f"at {np.nanmin(done.average_ranks):.1f} of 46 on average"
    assert f"{best} comes first, {place}; {rivals - 1} others are" in told
    lonely = leagues.of(
        ["one"],
        ["sgd", "adam"],
        "sgd",
        np.array([[1.0, NAN]]),
        [["baseline", "cannot run"]],
        np.array([[0.0, NAN]]),
        np.zeros((1, 2)),
    )
    assert league.headline(lonely) == (
        "Against plain SGD, over 1 task: of 1 optimizer 0 better, 0 as good and 0 worse on most "
        "tasks like these with a probability of at least 97.5%; 0 not told apart, 1 could not run. "
        "Against each other, by ranks alone: sgd comes first, at 1.0 of 1 on average; no others "
        "are not told apart from it."
    )
    assert len(league.plots(lonely)) == 3


def test_the_columns_say_what_the_league_says(any_league):
    done = any_league[0]
    every = {column.name: column.cells for column in league.columns(done)}
    for row, name in enumerate(shown_names(done)):
        index = done.optimizers.index(name)
        assert every["overall"][row].word == done.overall[index]
        rank = done.average_ranks[index]
        assert every["average rank"][row].text == ("-" if np.isnan(rank) else f"{rank:.1f}")
        tally = done.tallies[index]
        counts = [
            every[each][row].value for each in ("wins", "as good", "not told apart", "losses")
        ]
        assert counts == [tally.wins, tally.ties, tally.untold, tally.losses]
        for task, verdicts in zip(done.tasks, done.verdicts, strict=True):
            cell = every[task][row]
            assert cell.word == verdicts[index]
            assert bool(cell.text) == (cell.word in ("better", "worse"))


def test_what_fails_sorts_beyond_all_and_what_did_not_run_has_no_number():
    done = written("many")[0]
    for task, column in enumerate(league.columns(done)[-16:]):
        values = {word: [c.value for c in column.cells if c.word == word] for word in WORDS}
        unable = [cell.value for cell in column.cells if cell.word == "cannot run"]
        assert np.isnan(unable).all()
        assert len(unable) == 2 * (task == 1)
        assert min(values["fails more often"]) > max(values["worse"], default=0)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.5, "0.50"),
        (1.284, "1.28"),
        (0.0123, "0.012"),
        (123.4, "123"),
        (1e5, ">1000"),
        (1e-5, "<0.001"),
        (np.inf, ">1000"),
        (0.0, "<0.001"),
    ],
)
def test_ratios_have_no_more_figures_than_tell(value, shown):
    with np.errstate(divide="ignore"):
        assert league._ratio(float(np.log(value))) == shown


def test_chances_that_no_draw_denies_are_not_certain():
    shown = [league._chance(value).text for value in (1.0, 0.0, 0.7, 0.952, NAN)]
    assert shown == [">99%", "<1%", "70%", "95%", "-"]


def drawn(name, which):
    done = written(name)[0]
    return done, {plot.name: plot.figure for plot in league.plots(done)}[which].axes[0]


def test_lines_of_the_ranks_overlap_where_two_are_not_told_apart():
    done, ax = drawn("many", "ranks")
    rows = [label.get_text() for label in ax.get_yticklabels()]
    assert rows == shown_names(done)[:46]
    lines = {rows[line.get_ydata()[0]]: line for line in ax.lines if len(line.get_xdata()) == 2}
    marks = {rows[line.get_ydata()[0]]: line for line in ax.lines if len(line.get_xdata()) == 1}
    together = {pair for group in done.groups for pair in itertools.combinations(group, 2)}
    for one, other in itertools.combinations(rows, 2):
        apart = lines[one].get_xdata()[1] <= lines[other].get_xdata()[0]
        assert apart != ((one, other) in together)
    shapes = {name: (mark.get_marker(), mark.get_markerfacecolor()) for name, mark in marks.items()}
    told = {"better": ("v", True), "worse": ("^", True), "not told apart": ("o", False)}
    assert {"worse", "not told apart"} < {*done.overall}
    for name, (marker, face) in shapes.items():
        word = done.overall[done.optimizers.index(name)]
        if name == "sgd":
            assert (marker, face) == ("o", style.INK)
        else:
            assert (marker, face != style.PAPER) == told[word]


def test_the_grid_holds_each_verdict_at_its_place_told_without_colour():
    done, ax = drawn("many", "verdicts")
    rows = [label.get_text() for label in ax.get_yticklabels()]
    names = {name[:17] + "…" if len(name) > 18 else name: name for name in shown_names(done)}
    marks = {line.get_label(): line for line in ax.lines if not line.get_label().startswith("_")}
    assert set(marks) == {*WORDS, "cannot run"}
    looks = {
        (line.get_marker(), line.get_markerfacecolor() == style.PAPER) for line in marks.values()
    }
    assert len(looks) == 7
    cells = {}
    for word, line in marks.items():
        for task, row in zip(line.get_xdata(), line.get_ydata(), strict=True):
            cells[task, names[rows[row]]] = word
    assert cells == {
        (task, name): verdicts[index]
        for task, verdicts in enumerate(done.verdicts)
        for index, name in enumerate(done.optimizers)
        if name != "sgd"
    }


def test_a_shade_is_as_strong_as_the_difference_that_is_told():
    done, ax = drawn("many", "verdicts")
    rows = [name for name in shown_names(done) if name != "sgd"]
    shades = [line for line in ax.lines if line.get_marker() == "s"]
    shaded = set()
    for line in shades:
        for task, row in zip(line.get_xdata(), line.get_ydata(), strict=True):
            index = done.optimizers.index(rows[row])
            ratio = math.exp(abs(done.differences[task, index]))
            strength = 0.1 if ratio < 1.2 else 0.25 if ratio < 2 else 0.45
            assert line.get_alpha() == strength
            side = "better" if line.get_color() == style.COLOURS[0] else "worse"
            assert done.verdicts[task][index] == side
            shaded.add((task, index))
    assert len(shaded) == sum(row.count("better") + row.count("worse") for row in done.verdicts)


def test_bars_of_the_chances_fill_their_rows():
    done, ax = drawn("many", "chances")
    widths = np.array([[bar.get_width() for bar in bars] for bars in ax.containers])
    assert widths.shape == (3, 47)
    np.testing.assert_allclose(widths.sum(axis=0), 1)
    rows = [name for name in shown_names(done) if name != "sgd"]
    best = done.chances[done.optimizers.index(rows[0])]
    np.testing.assert_allclose(widths[:, 0], best)


def test_caveats_are_those_that_hold():
    few, many = league.caveats(written("few")[0]), league.caveats(written("many")[0])
    assert [words for words in few if words not in many] == [
        f"No two average ranks differ by the {written('few')[0].critical_difference:.2f} that it "
        "takes to be told apart."
    ]
    alone = leagues.of(
        ["one"],
        ["sgd", "b"],
        "sgd",
        np.array([[1.0, NAN]]),
        [["baseline", "cannot run"]],
        np.array([[0.0, NAN]]),
        np.zeros((1, 2)),
    )
    assert not any("nan" in words for words in league.caveats(alone))
    captions = {plot.name: plot.caption for plot in league.plots(written("many")[0])}
    assert captions["ranks"].endswith("every task: <b>rule</b>_46, <b>rule</b>_47.")


def test_the_page_is_whole_safe_and_loads_nothing(any_league):
    done, text = any_league
    reader = read(text)
    assert reader.faults == reader.open == []
    tags = [tag for tag, _, _ in reader.tags]
    assert not {"b", "i", "link", "img", "iframe", "object", "image"} & set(tags)
    assert tags.count("script") == tags.count("title") == 1
    ids = [attrs["id"] for _, attrs, _ in reader.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert not any("src" in attrs for _, attrs, _ in reader.tags)
    assert reader.said("tbody/tr/th") == shown_names(done)
    heads = [column.name for column in league.columns(done)]
    assert reader.said("thead/tr/th") == ["optimizer", *heads]
    assert reader.said("header/h1") == ["Rules on <tasks>"]
    assert "jaxnet compare --task all" in reader.said("pre/code")
    assert tags.count("svg") == len(league.plots(done)) == 3
    styles = "".join(attrs.get("style", "") for _, attrs, where in reader.tags if "svg" in where)
    assert not re.search(r"#[0-9a-f]{6}", styles)


def test_fifty_optimizers_on_sixteen_tasks_stay_small_and_the_same(tmp_path):
    assert len(written("many")[1].encode()) < 1e6
    report.write_league_page(MADE["few"](), tmp_path / "page.html", "Rules on <tasks>")
    again, before = (tmp_path / "page.html").read_text("utf-8"), written("few")[1]
    assert again == before.replace("<pre><code>jaxnet compare --task all</code></pre>", "")


def test_a_picture_is_saved(tmp_path):
    for plot in league.plots(MADE["few"]()):
        path = tmp_path / f"{plot.name}.png"
        pictures.save_plot(plot, path)
        assert path.stat().st_size > 1000


@pytest.mark.usefixtures("browser")
@pytest.mark.slow
def test_the_league_is_sorted_filtered_and_searched(tmp_path):
    done, text = written("many")
    script = """
        const [search, verdict, column] =
          page.querySelectorAll(".controls input, .controls select");
        const shown = () => [...page.querySelectorAll("tbody tr")]
          .filter((row) => row.getClientRects().length)
          .map((row) => row.cells[0].textContent);
        const type = (field, value) => {
          field.value = value;
          field.dispatchEvent(new Event("input", { bubbles: true }));
          return shown();
        };
        const heads = [...page.querySelectorAll("thead th")];
        const columns = [...column.options].map((each) => each.text);
        const better = type(verdict, "better");
        const failing = (type(verdict, "fails more often"), type(column, column.options[3].value));
        const one = type(search, "rule</b>_1");
        type(search, ""); type(verdict, "");
        heads.find((each) => each.textContent === "task_1").querySelector("button").click();
        return [columns, better, failing, one, shown()];
    """
    columns, better, failing, one, by_task = framed(tmp_path, text, script)[0]
    order = shown_names(done)
    at = {name: index for index, name in enumerate(done.optimizers)}
    assert columns == ["overall", *done.tasks]
    assert better == [name for name in order if done.overall[at[name]] == "better"]
    lost = [name for name in order if done.verdicts[2][at[name]] == "fails more often"]
    assert failing == lost
    assert one == [name for name in lost if "rule</b>_1" in name]
    assert 0 < len(one) < len(lost)
    values = [done.differences[1, at[name]] for name in by_task]
    assert values[:-2] == sorted(values[:-2])
    assert np.isnan(values[-2:]).all()


@pytest.mark.slow
@pytest.mark.usefixtures("browser")
def test_the_page_is_no_wider_than_the_screen_and_prints_whole(tmp_path):
    text = written("many")[1]
    script = """
        const root = page.documentElement;
        return [root.clientWidth, root.scrollWidth];
    """
    for width, (client, scrolled) in zip(
        (360, 800), framed(tmp_path, text, script, (360, 800)), strict=True
    ):
        assert scrolled <= client <= width
    path, paper = tmp_path / "page.html", tmp_path / "page.pdf"
    path.write_text(text, "utf-8")
    chromium(tmp_path, path, f"--print-to-pdf={paper}")
    assert 4 <= len(re.findall(rb"/Type /Page\b(?!s)", paper.read_bytes())) < 20


@pytest.mark.usefixtures("browser")
@first_of(("name", "wider"), [("many", True), ("few", False)])
def test_a_table_that_goes_on_says_so_and_shows_its_scrollbar(name, wider, tmp_path):
    script = """
        const box = page.querySelector(".scroll"), edge = box.getBoundingClientRect().right;
        const heads = [...page.querySelectorAll("thead th")];
        const beyond = (head) => head.getBoundingClientRect().right - edge;
        return [page.querySelector(".controls span").getClientRects().length,
                box.offsetHeight - box.clientHeight, beyond(heads.at(-1)), beyond(heads[8])];
    """
    (found,) = framed(tmp_path, written(name)[1], script, (1280,))
    told, bar, hidden, over_all = found
    assert told == wider
    # Two pixels are the frame's.
    assert (bar > 8) == wider == (hidden > 0)
    assert over_all < 0


# Along lengths and batch sizes.

ALONG = [
    leagues.Along("adam", "sgd", {"5 steps": "better", "9 steps": "better"}),
    leagues.Along("<b>lion</b>", "sgd", {"5 steps": "better", "9 steps": "worse"}),
    leagues.Along("muon", "sgd", {"5 steps": "not told apart", "9 steps": "as good"}),
]


def test_what_holds_is_told_by_value_on_a_page_and_in_the_terminal(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    report.write_along_page(ALONG, tmp_path / "page.html", "At <lengths>", "again")
    text = (tmp_path / "page.html").read_text("utf-8")
    reader = read(text)
    assert reader.faults == []
    assert reader.said("thead/tr/th") == ["optimizer", "5 steps", "9 steps", "holds?"]
    assert reader.said("tbody/tr/th") == ["adam", "<b>lion</b>", "muon"]
    report.show_along(ALONG, "At <lengths>")
    told = capsys.readouterr().out
    assert max(map(len, told.splitlines())) <= 80
    rows = [line.split() for line in told.splitlines() if line.startswith(("adam", "<b>", "muon"))]
    assert rows[0] == ["adam", "better", "better", "yes"]
    assert rows[1] == ["<b>lion</b>", "better", "worse", "no"]
    assert rows[2] == ["muon", "not", "told", "apart", "as", "good", "open"]
    assert "no where two contradict each other, open where" in " ".join(told.split())
    words = (
        "Held against plain SGD in 2 comparisons: of 3 optimizers 1 gets the same verdict in "
        "each (adam), 1 gets verdicts that contradict each other (<b>lion</b>) and 1 stays open, "
        "as not every comparison tells something (muon)."
    )
    assert words in " ".join(told.split())
    assert words in reader.said("header/p")
    assert all(each.sentence in reader.said("dl/dd") for each in ALONG)
