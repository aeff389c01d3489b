"""A JAX outside the requirement is refused, whichever of its two packages it is."""

import re
import tomllib
from importlib import metadata
from pathlib import Path

import jax
import jaxlib
import pytest

import experiments
import jaxnet
from jaxnet import __main__
from jaxnet._guards import versions
from jaxnet.commands import _outcomes
from jaxnet.errors import InputError

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
# As metadata has it: sorted, with what extras ask for.
REQUIREMENTS = [
    "jax!=0.10.2,!=0.11.0,>=0.10.1",
    "jaxlib!=0.10.2,!=0.11.0,>=0.10.1",
    "jaxtyping>=9",
    'jax[cuda13]; extra == "cuda"',
    'jax>=9; extra == "late"',
]


@pytest.fixture(autouse=True)
def planted(monkeypatch):
    """Plant the metadata and good versions, and give what plants others."""
    versions.check.cache_clear()
    monkeypatch.setattr(metadata, "requires", {versions.DISTRIBUTION: REQUIREMENTS}.get)
    monkeypatch.setattr(jax, "__version__", "0.10.1")
    monkeypatch.setattr(jaxlib, "__version__", "0.10.1")
    yield monkeypatch
    versions.check.cache_clear()


@pytest.mark.parametrize(
    "version", ["0.10.1", "0.10.1.1", "0.11.1", "0.12.0.1", "1.0", "0.12.0.dev20270101+abc"]
)
@pytest.mark.parametrize("package", [jax, jaxlib])
def test_what_is_asked_for_passes(package, version, planted):
    planted.setattr(package, "__version__", version)
    versions.check()


@pytest.mark.parametrize(
    ("version", "why"),
    [
        ("0.9.99", ""),
        ("0.10", ""),
        ("0.10.0.dev1", ""),
        ("0.10.2", ", which computes wrong values on CPUs (JAX issue 39103)"),
        ("0.11.0", ", which hangs or crashes where products .* (JAX issue 39257)"),
        ("0.11.0rc1", ""),
        ("0.11", ""),
    ],
)
@pytest.mark.parametrize("package", [jax, jaxlib])
def test_any_other_is_refused_in_one_line(package, version, why, planted):
    planted.setattr(package, "__version__", version)
    with pytest.raises(InputError) as caught:
        versions.check()
    expected = (
        f"{package.__name__}: expected >=0.10.1, !=0.10.2, !=0.11.0, got {version}{why}; run pip "
        "install 'jax>=0.10.1,!=0.10.2,!=0.11.0' 'jaxlib>=0.10.1,!=0.10.2,!=0.11.0'"
    )
    assert re.fullmatch(re.escape(expected).replace(r"\.\*", ".*"), str(caught.value))


@pytest.mark.parametrize(
    ("requirement", "holds"),
    [
        ("jax>0.10.0", True),
        ("jax>0.10.1", False),
        ("jax<0.10.1", False),
        ("jax<0.11", True),
        ("jax<=0.10.1.0", True),
        ("jax<=0.10.0", False),
        ("jax==0.10.1.0", True),
        ("jax==0.10", False),
        ("jax<0.9,>=0.1", False),
        ("jax", True),
    ],
)
def test_every_comparison_is_known(requirement, holds, planted):
    planted.setattr(metadata, "requires", lambda name: [requirement])
    if holds:
        versions.check()
    else:
        with pytest.raises(InputError, match=r"got 0\.10\.1; run pip"):
            versions.check()


def test_a_bare_checkout_refuses_nothing(planted):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    planted.setattr(metadata, "requires", missing)
    planted.setattr(jax, "__version__", "0.1")
    versions.check()


def test_metadata_is_read_once(planted):
    versions.check()
    planted.setattr(metadata, "requires", lambda name: pytest.fail("read again"))
    versions.check()


@pytest.mark.parametrize(
    "run",
    [
        lambda: experiments.run(lambda: pytest.fail("ran"), "experiments", ["--no-such-setting"]),
        lambda: __main__.run(["train", "no.csv"]),
    ],
    ids=["experiments", "jaxnet"],
)
def test_a_command_ends_in_one_line_before_anything(planted, capsys, run):
    planted.setattr(jax, "__version__", "0.10.2")
    assert _outcomes.outcome(run) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: jax: expected >=0.10.1, ")
    assert printed.err.count("\n") == 1


def test_each_version_left_out_has_its_reason():
    """And each of JAX's two packages has the same bounds, which metadata then repeats."""
    asked = [re.fullmatch("(jax|jaxlib)([<>=!].*)", each) for each in PROJECT["dependencies"]]
    bounds = {each[1]: each[2] for each in asked if each}
    assert bounds["jax"] == bounds["jaxlib"]
    assert re.findall("!=([^,]*)", bounds["jax"]) == list(versions.FAULTS)
    assert PROJECT["name"] == versions.DISTRIBUTION


def test_the_version_is_asked_of_metadata(planted):
    planted.setattr(metadata, "version", {versions.DISTRIBUTION: "1.2.3"}.get)
    assert jaxnet.__version__ == "1.2.3"
    with pytest.raises(AttributeError, match="no attribute 'version'"):
        _ = jaxnet.version
