"""Evidence for runs on many hosts: processes train together what one trains, or say why not."""

import contextlib
import functools
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest

from jaxnet import devices
from jaxnet._guards import hosts
from jaxnet.errors import InputError

# Each host's part of a run that is kept; what it is asked to do more is in `asked`.
PROGRAM = """
import functools, json, os, signal, sys, warnings
from pathlib import Path

import jax
import numpy as np
import optax

import jaxnet
from jaxnet import devices, storage

count, index, port, folder, epochs, *asked = sys.argv[1:]
count, index, folder = int(count), int(index), Path(folder)
say = functools.partial(print, "said", flush=True)
if count > 1:
    devices.connect(f"localhost:{port}", count, index)
x = np.load(folder / "x.npy", mmap_mode="r")
data = x[:, :3], x[:, 3:]
loss = jaxnet.BatchLoss(jaxnet.forward, optax.losses.l2_loss)
adam = optax.adam(0.01)
params = jaxnet.init(jax.random.key(0), [3, 8, 1])
settings = {"batch_size": 8, "validation": (x[:10, :3], x[:10, 3:]), "patience": 2}
settings["sharding"] = devices.batch_sharding()
fit = functools.partial(jaxnet.fit, loss, adam, params)
with storage.Checkpoints(folder / "kept", {"batch_size": 8}) as kept:
    fresh = jaxnet.begin(adam, params)
    begun, _ = kept.restore(fresh) or (fresh, [])

    def watch(now):
        kept.save(now)
        if asked == ["die"] and now.progress.epoch == 2:
            kept.__exit__()
            if index:
                os.kill(os.getpid(), signal.SIGKILL)

    ended = fit(data, epochs=int(epochs), resume=begun, on_progress=watch, **settings)
history = {name: values.tolist() for name, values in ended.history.items()}
leaves = [leaf.tolist() for leaf in jax.tree.leaves(ended.params)]
say(json.dumps([int(begun.progress.epoch), ended.outcome, ended.verified, history, leaves]))


def refused(data, **changed):
    try:
        fit(data, epochs=2, **settings | changed)
    except Exception as error:
        say(json.dumps(str(error)))


def broken(epoch):
    yield jax.tree.map(lambda leaf: leaf[:4], data)
    if index:
        raise OSError("no disk")
    yield jax.tree.map(lambda leaf: leaf[:2], data)


if asked == ["more"]:
    own = jax.tree.map(lambda leaf: leaf[index:50:count].astype(float), data)
    stream = jaxnet.stream(own, 8 // count, 0)
    ended = fit(stream, epochs=2, **settings | {"batch_size": None})
    say(json.dumps(ended.history["loss"].tolist()))
    warnings.simplefilter("ignore")
    say(json.dumps(jaxnet.fit(loss, optax.sgd(1e30), params, data, epochs=2, **settings).message))
    refused(data, batch_size=7)
    refused(data, seed=index)
    refused(data, patience=0 if index else 2)
    refused(broken, batch_size=None)
    refused(jax.tree.map(lambda leaf: leaf[: 51 - 4 * index], data))
    infinite = jax.tree.map(lambda leaf: leaf[:4] / np.float32(1 - index), data)
    refused(lambda epoch: iter([infinite if index else data]), batch_size=None)
"""


@pytest.fixture
def folder(tmp_path):
    random = np.random.default_rng(0)
    x = random.normal(size=(51, 3)).astype(np.float32)
    np.save(tmp_path / "x.npy", np.concatenate([x, np.sin(x[:, :1])], axis=1))
    return tmp_path


def together(count, folder, *asked, epochs=3):
    """What each of so many processes printed, in their order, and how it ended."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    given = [str(count), "{}", str(port), str(folder), str(epochs), *asked]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *(each.format(index) for each in given)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(count)
    ]
    ends = [(*process.communicate(timeout=200), process.returncode) for process in processes]
    lines = [[line.split(" ", 1) for line in out.splitlines()] for out, *_ in ends]
    said = [[json.loads(line[1]) for line in each if line[0] == "said"] for each in lines]
    return said, [(error, code) for _, error, code in ends]


@pytest.mark.slow
def test_hosts_train_what_one_trains_and_go_on_in_other_numbers(folder):
    alone = folder / "alone"
    alone.mkdir()
    (alone / "x.npy").write_bytes((folder / "x.npy").read_bytes())
    [[[*_, verified, history, leaves]]], _ = together(1, alone, epochs=4)
    (two, other), ends = together(2, folder, "more")
    assert [code for _, code in ends] == [0, 0], ends
    assert two[0] == other[0]
    assert two[0][:3] == [0, "finished", verified]
    for name, values in history.items():
        np.testing.assert_allclose(two[0][3][name], values[:3], rtol=1e-6)
    assert two[1] == other[1]
    for said, index in ((two, 0), (other, 1)):
        diverged, divide, seed, patience, disk, rows, infinite = said[2:]
        assert diverged.startswith("the loss, inf, was not finite in epoch 1, step 2; lower")
        assert divide.startswith("batch_size: expected one that the devices of all hosts divide, 2")
        assert seed.startswith("seed: expected the same on all hosts, got 0 on host 0 and 1 on")
        assert patience.startswith("host 1: patience: " if not index else "patience: ")
        assert disk == ("no disk" if index else "host 1: no disk")
        assert infinite.startswith("host 1: data" if not index else "data")
        assert rows.startswith("rows: expected the same on all hosts, got 51 on host 0 and 47 on")
    # By one process from what two have left, and by four from there.
    [[[begun, outcome, _, more, params]]], _ = together(1, folder, epochs=4)
    assert (begun, outcome) == (3, "finished")
    for name, values in history.items():
        np.testing.assert_allclose(more[name], values, rtol=1e-6)
    for ours, theirs in zip(params, leaves, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    four, ends = together(4, folder, epochs=5)
    assert [code for _, code in ends] == [0] * 4, ends
    assert [each[0][0] for each in four] == [4] * 4
    assert four[0] == four[3]


@pytest.mark.slow
def test_where_one_is_killed_the_others_end_and_the_job_goes_on(folder):
    said, ends = together(2, folder, "die", epochs=4)
    assert said == [[], []]
    assert ends[1][1] == -signal.SIGKILL
    assert ends[0][1] not in (0, None)
    assert "Gloo" in ends[0][0] or "distributed service" in ends[0][0]
    (one, _), ends = together(2, folder, epochs=4)
    assert [code for _, code in ends] == [0, 0], ends
    assert one[0][0] == 2
    undisturbed = folder / "undisturbed"
    undisturbed.mkdir()
    (undisturbed / "x.npy").write_bytes((folder / "x.npy").read_bytes())
    (two, _), _ = together(2, undisturbed, epochs=4)
    assert two[0][1:] == one[0][1:]


@pytest.mark.slow
@pytest.mark.parametrize(
    "job",
    [
        {
            **{"SLURM_JOB_ID": "{job}", "SLURM_STEP_NODELIST": "localhost", "SLURM_NTASKS": "2"},
            **{"SLURM_PROCID": "{index}", "SLURM_LOCALID": "{index}", "SLURM_STEP_NUM_NODES": "1"},
        },
        {
            "OMPI_MCA_orte_hnp_uri": "{job}0000.0;tcp://127.0.0.1:34911",
            **{"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "{index}"},
            "OMPI_COMM_WORLD_LOCAL_RANK": "{index}",
        },
    ],
    ids=["SLURM", "Open MPI"],
)
def test_a_job_is_found(job):
    """By the variables that its processes are given, which stand for it here."""
    script = """
import jax
from jaxnet import devices
devices.connect()
print("joined", jax.process_index(), devices.batch_sharding().num_devices)
"""
    own = {"job": os.getpid()}
    ended = [
        subprocess.Popen(
            [sys.executable, "-c", script],
            env=os.environ
            | {name: value.format(index=index, **own) for name, value in job.items()},
            stdout=subprocess.PIPE,
            text=True,
        )
        for index in range(2)
    ]
    printed = [process.communicate(timeout=100)[0] for process in ended]
    assert ["joined 0 2" in printed[0], "joined 1 2" in printed[1]] == [True, True]


@pytest.mark.slow
def test_the_guide_s_script_trains_and_goes_on(tmp_path):
    """Of two processes, and then by itself from where they ended."""
    guide = (pathlib.Path(__file__).parents[2] / "docs" / "cluster.md").read_text()
    (script,) = re.findall(r"```py\n(import sys.*?)```", guide, re.S)
    random = np.random.default_rng(0)
    x = random.normal(size=(51, 3)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", x[:, :1])
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        address = f"localhost:{probe.getsockname()[1]}"
    for count, epochs in ((2, 20), (1, 21)):
        code = script.replace('"epochs": 20', f'"epochs": {epochs}')
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", code, address, str(count), str(index)],
                stdout=subprocess.PIPE,
                text=True,
                cwd=tmp_path,
            )
            for index in range(count)
        ]
        printed = [process.communicate(timeout=100)[0] for process in processes]
        assert f"{epochs} epochs, loss" in printed[0]
        assert all("epochs" not in other for other in printed[1:])


def test_the_guide_s_job_begins_again_where_one_was_lost_alone(tmp_path):
    guide = (pathlib.Path(__file__).parents[2] / "docs" / "cluster.md").read_text()
    (job,) = re.findall(r"```sh\n(#!/bin/sh.*?)```", guide, re.S)
    stand_in = 'srun() { return $CODE; }\nscontrol() { echo "$@"; }\n'
    for code, said in ((0, ""), (1, ""), (2, ""), (137, "requeue 7\n"), (134, "requeue 7\n")):
        done = subprocess.run(
            ["/bin/sh", "-c", stand_in + job],
            env={"CODE": str(code), "SLURM_JOB_ID": "7"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout == said, code


@pytest.mark.slow
@pytest.mark.parametrize("index", [0, 1])
def test_an_address_nobody_answers_at_is_said_in_time(index):
    script = f"from jaxnet import devices; devices.connect('localhost:{{}}', 2, {index}, seconds=1)"
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        script = script.format(probe.getsockname()[1])
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    others = "all 2 processes" if index == 0 else "process 0"
    assert f"address: expected {others} to answer at localhost:" in done.stderr
    assert "within 1 seconds, got no answer" in done.stderr


@pytest.mark.usefixtures("unchecked")
def test_what_is_no_address_is_refused():
    with pytest.raises(InputError, match="address: expected an address, a count and an index"):
        devices.connect("localhost:1234", 2)
    with pytest.raises(InputError, match="address: expected HOST:PORT of process 0, got 'head'"):
        devices.connect("head", 2, 0)
    with pytest.raises(InputError, match="address: expected HOST:PORT of process 0, got 1234"):
        devices.connect(1234, 2, 0)
    with pytest.raises(InputError, match="count: expected at least 1 process, got '2'"):
        devices.connect("localhost:1234", "2", 0)
    with pytest.raises(InputError, match="count: expected at least 1 process, got 0"):
        devices.connect("localhost:1234", 0, 0)
    with pytest.raises(InputError, match="index: expected 0 to 1, of 2 processes, got 2;"):
        devices.connect("localhost:1234", 2, 2)
    jax.devices()
    with pytest.raises(InputError, match="before JAX is used, got: jax"):
        devices.connect("localhost:1234", 2, 1)


def test_what_hosts_have_unlike_or_raise_is_told_to_all(monkeypatch):
    told, array = [], np.arange(3)

    def everyone(other, said):
        told.append(said)
        return [said, other]

    for other, message in (
        ({"a": "1", "b": hosts._brief(array)}, ""),
        ({"a": "2"}, "a: expected the same on all hosts, got 1 on host 0 and 2 on host 1;"),
        ({"a": "1", "b": hosts._brief(array + 1)}, "b: expected the same on all hosts, got 1 arr"),
        ({"a": "1"}, "b: expected the same on all hosts, got 1 arrays of .* and nothing on host"),
        ({"error": "data: none"}, "host 1: data: none"),
    ):
        monkeypatch.setattr(hosts, "_everyone", functools.partial(everyone, other))
        refused = pytest.raises(InputError, match=message) if message else contextlib.nullcontext()
        with refused, hosts.agreed(many=True) as facts:
            facts.update(a=1, b=array)
    with pytest.raises(OSError, match="full"), hosts.agreed(many=True):
        raise OSError("full")
    assert told[-1] == {"error": "full"}
    with hosts.agreed(many=False) as facts:
        facts["a"] = object()
    assert len(told) == 6
