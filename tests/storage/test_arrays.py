"""Evidence for arrays: every dtype to the last bit, in a file that other programs read."""

import ml_dtypes
import numpy as np
import pytest
import safetensors
import safetensors.numpy

from jaxnet.errors import InputError
from jaxnet.storage import arrays

PLAIN = ["bool", "float16", "float32", "float64", "complex64"]
PLAIN += [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
STRANGE = ["complex128", "int2", "uint2", "int4", "uint4", "float4_e2m1fn", "bfloat16"]
STRANGE += [name for name in dir(ml_dtypes) if name.startswith("float8")]


def random(dtype, shape=(2, 3), seed=0):
    """Any bits at all, of what takes them: of a bool and of what is less than a byte, its own."""
    dtype = np.dtype(dtype)
    content = np.random.default_rng(seed).bytes(int(np.prod(shape)) * dtype.itemsize)
    if dtype.name == "bool" or dtype.name.endswith(("int2", "int4", "e2m1fn")):
        return (np.frombuffer(content, np.uint8) % 2).astype(dtype).reshape(shape)
    return np.frombuffer(content, dtype).reshape(shape)


@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3)], ids=str)
def test_arrays_of_every_dtype_come_back_to_the_bit(shape, tmp_path):
    written = {name: random(name, shape, seed) for seed, name in enumerate([*PLAIN, *STRANGE])}
    assert len(written) >= 28
    path, record = tmp_path / "a.safetensors", {"who": ["é", None, 0.1]}
    arrays.write(path, written, record)
    read, about = arrays.read(path)
    assert about == record
    assert list(read) == list(written)
    for name, array in written.items():
        assert (read[name].dtype, read[name].shape) == (array.dtype, array.shape)
        assert read[name].tobytes() == array.tobytes()
    # The same arrays are the same file.
    content = path.read_bytes()
    arrays.write(path, written, record)
    assert path.read_bytes() == content


def test_arrays_in_any_order_come_back_as_their_values(tmp_path):
    x = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    written = {"T": x.T, "reversed": x[::-1, ::2], "big": x.astype(">f4"), "a/b.c ü": x[0]}
    arrays.write(tmp_path / "a.safetensors", written, None)
    for name, array in arrays.read(tmp_path / "a.safetensors")[0].items():
        assert np.array_equal(array, written[name])
        assert array.dtype == np.float32
        assert array.flags.writeable


def test_another_program_reads_them(tmp_path):
    """safetensors' own library: all dtypes that it and NumPy have."""
    written = {name: random(name) for name in PLAIN} | {
        "none": np.zeros((0, 2)),
        "one": np.ones(()),
    }
    arrays.write(tmp_path / "a.safetensors", written, {"by": "us"})
    read = safetensors.numpy.load_file(tmp_path / "a.safetensors")
    assert read.keys() == written.keys()
    for name, array in written.items():
        assert (read[name].dtype, read[name].shape) == (array.dtype, array.shape)
        assert read[name].tobytes() == array.tobytes()
    with safetensors.safe_open(tmp_path / "a.safetensors", "numpy") as file:
        assert file.metadata()["record"] == '{"by": "us"}'
    # Others it lists by their own names, or as bytes.
    strange = {name: random(name) for name in STRANGE}
    listed = dict(safetensors.deserialize(bytes(arrays.pack("b", strange, None))))
    assert {listed[name]["dtype"] for name in ("bfloat16", "float8_e4m3fn", "float8_e5m2")} == {
        *("BF16", "F8_E4M3", "F8_E5M2"),
    }
    assert (listed["complex128"]["dtype"], listed["complex128"]["shape"]) == ("U8", [2, 3, 16])
    assert all(bytes(listed[name]["data"]) == array.tobytes() for name, array in strange.items())


@pytest.mark.parametrize("bad", [np.array(["x"]), np.array([None]), np.zeros(2, "M8[s]")])
def test_what_is_no_number_is_refused(bad, tmp_path):
    with pytest.raises(InputError, match="b: expected an array of numbers, got"):
        arrays.write(tmp_path / "a.safetensors", {"a": np.ones(2), "b": bad}, None)
    assert not list(tmp_path.iterdir())


def test_a_file_under_another_name_is_refused(tmp_path):
    arrays.write(tmp_path / "1.safetensors", {"a": np.ones(2)}, None)
    (tmp_path / "1.safetensors").rename(tmp_path / "2.safetensors")
    with pytest.raises(InputError, match=r"2\.safetensors: expected .* another under its name"):
        arrays.read(tmp_path / "2.safetensors")


def test_the_name_of_the_record_is_no_name_of_an_array(tmp_path):
    with pytest.raises(InputError, match="arrays: expected other names than __metadata__"):
        arrays.write(tmp_path / "a", {"__metadata__": np.ones(2)}, None)
