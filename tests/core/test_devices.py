"""Evidence for the devices: what a result says of them, and what is said when one is missing."""

import contextlib
import dataclasses
import os
import platform
import subprocess
import sys

import jax
import jaxlib
import numpy as np
import optax
import pytest

import jaxnet
from jaxnet import devices


def test_first_is_the_device_jax_selects():
    assert devices.first() == jax.devices()[0]


@pytest.mark.parametrize("dtype", ["float32", np.float64, jax.numpy.bfloat16])
def test_provenance_says_what_a_result_depends_on(dtype):
    record = dataclasses.asdict(devices.provenance(dtype))
    assert record.pop("device").startswith(jax.devices()[0].platform)
    assert record == {
        "dtype": np.dtype(dtype).name,
        "jaxnet": jaxnet.__version__,
        "jax": jax.__version__,
        "jaxlib": jaxlib.__version__,
        "numpy": np.__version__,
        "optax": optax.__version__,
        "python": platform.python_version(),
    }


@pytest.mark.parametrize(
    ("platform", "kind", "count", "expected"),
    [
        ("cpu", "cpu", 1, "cpu, 1 device"),
        ("cpu", "cpu", 4, "cpu, 4 devices"),
        ("gpu", "NVIDIA H100", 8, "gpu (NVIDIA H100), 8 devices"),
    ],
)
def test_provenance_describes_the_devices(platform, kind, count, expected, monkeypatch):
    device = type("Device", (), {"platform": platform, "device_kind": kind})()
    monkeypatch.setattr(jax, "devices", lambda: [device])
    monkeypatch.setattr(jax, "local_device_count", lambda: count)
    assert devices.provenance("float32").device == expected
    assert devices.float64_is_native()
    assert devices.describe(devices.provenance("float64")) == (
        f"{expected}, float64, jax {jax.__version__}, optax {optax.__version__}, "
        f"numpy {np.__version__}"
    )


def test_float64_is_not_native_on_a_tpu(monkeypatch):
    device = type("Device", (), {"platform": "tpu", "device_kind": "TPU v4"})()
    monkeypatch.setattr(jax, "devices", lambda: [device])
    assert not devices.float64_is_native()
    monkeypatch.setattr(devices, "float64_error", lambda: 3e-14)
    where, note = devices.describe(devices.provenance("float64")).splitlines()
    assert where.startswith("tpu (TPU v4)")
    assert "not native on this device: expect agreement with the notebook to a relative 3e" in note
    assert "native" not in devices.describe(devices.provenance("float32"))


def test_float64_is_accurate_here():
    assert devices.float64_error() < 1e-14


def test_single_precision_would_be_noticed(monkeypatch):
    monkeypatch.setattr(jax, "enable_x64", lambda _: contextlib.nullcontext())
    assert 1e-8 < devices.float64_error() < 1e-5


@pytest.mark.parametrize("expected", ["tpu", "no_such_platform"])
@pytest.mark.slow
def test_a_missing_platform_is_named_with_those_there_are(expected):
    """In a process of its own; the setting is left as it was."""
    script = """
import jax
import jaxnet
from jaxnet import devices
from jaxnet.errors import InputError
try:
    devices.first()
except InputError as error:
    print(error)
print(jax.config.jax_platforms)
"""
    environment = os.environ | {"JAX_PLATFORMS": expected}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    message, setting = done.stdout.splitlines()
    assert message.startswith(f"JAX_PLATFORMS: expected {expected}; available here: ")
    assert "cpu" in message.split("available here: ")[1].split("; ")[0].split(", ")
    assert message.endswith("or unset JAX_PLATFORMS")
    assert setting == expected


def test_all_cores_are_devices_where_a_system_tells_of_none(monkeypatch):
    """As macOS, whose processes have no cores of their own."""
    told = {}
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(jax.config, "update", told.__setitem__)
    devices.use_all_cores()
    assert told == {"jax_num_cpu_devices": os.cpu_count()}
