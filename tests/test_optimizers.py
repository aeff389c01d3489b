"""Evidence for optimizers by name: each builds, descends, and is always the same one."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnet import optimizers

KNOWN = {
    *("adabelief", "adadelta", "adafactor", "adagrad", "adam", "adamax", "adamw", "adan"),
    *("amsgrad", "fromage", "lamb", "lars", "lbfgs", "lion", "nadam", "noisy_sgd", "novograd"),
    *("optimistic_gradient_descent", "polyak_sgd", "radam", "rmsprop", "rprop", "sgd"),
    *("sign_sgd", "sm3", "yogi"),
}
# Parts, wrappers and helpers of optax, which are no optimizers of a learning rate.
OTHERS = {
    *("chain", "lookahead", "scale_by_adam", "scale_by_learning_rate", "scale_by_lbfgs", "scale"),
    *("apply_updates", "clip", "inject_hyperparams", "GradientTransformation", "set_to_zero"),
    *("dpsgd", "MultiSteps", "constant_schedule", "global_norm", "exponential_decay"),
}


def test_names_are_the_optimizers_of_optax():
    assert set(optimizers.names()) >= KNOWN
    assert not set(optimizers.names()) & OTHERS
    assert list(optimizers.names()) == sorted(set(optimizers.names()))


@pytest.mark.filterwarnings("ignore:Specifying a key:UserWarning")
@pytest.mark.filterwarnings("ignore:.optimistic_adam. is deprecated:DeprecationWarning")
@pytest.mark.parametrize("name", optimizers.names())
def test_each_descends_a_quadratic(name, x64):
    """Two steps, because the first of rprop only looks around."""
    start = params = {
        "weight": jnp.array([[2.0, -3.0, 4.0], [3.0, 0.5, -1.0]]),
        "bias": jnp.zeros(2),
    }

    def loss(params):
        return 0.5 * sum(jnp.sum((leaf - 1) ** 2) for leaf in jax.tree.leaves(params))

    optimizer = optax.with_extra_args_support(optimizers.by_name(name)(learning_rate=0.01))
    with jax.numpy_dtype_promotion("standard"):
        state = optimizer.init(params)
        for _ in range(2):
            grad = jax.tree.map(lambda leaf: leaf - 1, params)
            updates, state = optimizer.update(
                grad, state, params, value=loss(params), grad=grad, value_fn=loss
            )
            params = optax.apply_updates(params, updates)
    assert params["weight"].dtype == jnp.float64
    assert loss(params) < loss(start)


@pytest.mark.parametrize("name", optimizers.names())
def test_each_name_gives_one_object(name):
    """A program is cached by the functions it is made of."""
    assert optimizers.by_name(name) is optimizers.by_name(name)
    public = vars(optax.contrib) | vars(optax)
    assert optimizers.by_name(name) is public[name] or name == "polyak_sgd"


@pytest.mark.parametrize("name", ["sophia", "dpsgd"])
def test_an_optimizer_that_wants_more_says_what(name):
    with pytest.raises(ValueError, match=f"optimizer: {name} wants .*, which no step here gives"):
        optimizers.by_name(name)


def test_another_word_for_the_learning_rate_is_translated():
    """The Polyak step is 0.5 here, so that the largest rate allowed decides."""
    params = jnp.array([2.0])
    for rate in (0.01, 0.2):
        optimizer = optimizers.by_name("polyak_sgd")(learning_rate=rate)
        updates, _ = optimizer.update(params, optimizer.init(params), params, value=2.0)
        np.testing.assert_allclose(updates, -rate * params, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("adm", "adam"),
        ("Adam", "adam"),
        ("sdg", "sgd"),
        ("l-bfgs", "lbfgs"),
        ("rms_prop", "rmsprop"),
    ],
)
def test_an_unknown_name_lists_the_nearest(name, near):
    with pytest.raises(
        ValueError, match=r"^optimizer: wanted an optimizer of optax; got "
    ) as caught:
        optimizers.by_name(name)
    assert f"got '{name}'; the nearest are " in str(caught.value)
    assert near in str(caught.value).split("the nearest are ")[1].split(", ")


@pytest.mark.parametrize("name", ["zzzzqqq", "", "chain", "scale_by_adam", "apply_updates"])
def test_what_is_no_optimizer_is_refused(name):
    with pytest.raises(ValueError, match=f"^optimizer: wanted .*; got '{name}'; "):
        optimizers.by_name(name)


def test_a_name_like_no_other_lists_all():
    with pytest.raises(ValueError, match=r"known: .*\badam\b.*\bsgd\b"):
        optimizers.by_name("zzzzqqq")
