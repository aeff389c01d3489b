"""The same runs in PyTorch: its eager loop, `torch.compile`, and `torch.func` over many models."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from experiments.benchmark.machine import threads, torch_device
from experiments.benchmark.timing import Way
from experiments.benchmark.work import Optimizer, Work
from jaxnet import network

torch: Any = importlib.import_module("torch")
_ACTIVATIONS = {"relu": torch.nn.ReLU, "tanh": torch.nn.Tanh}


def network_of(work: Work) -> Any:
    """Make PyTorch's network of those sizes, its values its own."""
    layers = []
    for inputs, outputs in zip(work.sizes, work.sizes[1:], strict=False):
        layers += [torch.nn.Linear(inputs, outputs), _ACTIVATIONS[work.model.activation]()]
    kind = tensor(np.asarray(work.params[0].weight)).dtype
    return torch.nn.Sequential(*layers[:-1]).to(torch_device(), kind)


def tensor(array: np.ndarray) -> Any:
    """Copy an array to where PyTorch computes, integers as the class labels it takes."""
    if np.dtype(array.dtype).name == "bfloat16":
        return torch.tensor(array.astype(np.float32), device=torch_device()).bfloat16()
    copied = torch.tensor(array, device=torch_device())
    return copied if copied.is_floating_point() else copied.long()


def tensors(params: network.Params) -> dict[str, Any]:
    """Copy parameters into tensors, by the names that PyTorch's network has for them."""
    return {
        f"{2 * index}.{name}": tensor(np.asarray(leaf))
        for index, layer in enumerate(params)
        for name, leaf in layer._asdict().items()
    }


def loss_of(work: Work) -> Callable[[Any, Any], Any]:
    """Give the loss of a batch's outputs, [B, O] and targets."""
    if work.model.loss == "numbers":
        return lambda outputs, y: torch.nn.functional.mse_loss(outputs, y) / 2
    return torch.nn.functional.cross_entropy


def eager(work: Work, count: int, compiled: bool = False) -> Way:
    """Make the first run in the usual loop, with so many threads.

    Args:
        work: the runs.
        count: of threads.
        compiled: whether network and loss go through `torch.compile`.
    """
    params, order, rate = work.first
    x, y = map(tensor, work.data)
    steps, start, criterion = list(tensor(order)), tensors(params), loss_of(work)
    kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[work.optimizer]

    def loss(net: Any, x: Any, y: Any) -> Any:
        return criterion(net(x), y)

    # The parameters are what is compiled for: a network new each time would compile again.
    kept = network_of(work) if compiled else None
    if compiled:
        loss = torch.compile(loss)

    def run() -> Float[np.ndarray, "1 E"]:
        torch.set_num_threads(count)
        net, values = kept or network_of(work), []
        net.load_state_dict(start)
        optimizer = kind(net.parameters(), lr=rate)
        for rows in steps:
            optimizer.zero_grad()
            value = loss(net, x, y) if work.in_full else loss(net, x[rows], y[rows])
            value.backward()
            optimizer.step()
            values.append(value.detach())
        return work.curves(torch.stack(values).double().cpu().numpy())

    return run


def why_not_compiled() -> str:
    """Give why `torch.compile` does not work here; nothing where it does."""
    try:
        torch.compile(lambda x: torch.sin(x) + 1)(torch.ones(8, device=torch_device()))
    except Exception as error:  # whatever it is: no compiler, no such processor
        return f"torch.compile does not work here, left out: {str(error).splitlines()[0]}"
    return ""


def ensemble(work: Work) -> Way:
    """Make the runs by `torch.func.vmap` over as many models."""
    x, y = map(tensor, work.data)
    order, rates = tensor(work.order), tensor(work.rates)
    start, net, criterion = tensors(work.params), network_of(work), loss_of(work)

    def loss(params: Any, x: Any, y: Any) -> Any:
        return criterion(torch.func.functional_call(net, params, (x,)), y)

    each = None if work.in_full else 0
    gradients = torch.func.vmap(torch.func.grad_and_value(loss), in_dims=(0, each, each))

    def run() -> Float[np.ndarray, "R E"]:
        torch.set_num_threads(threads()[-1])
        params, losses = {name: leaf.clone() for name, leaf in start.items()}, []
        step = update(work.optimizer, params, rates)
        for number, rows in enumerate(order.unbind(1), 1):
            grads, values = gradients(params, *((x, y) if work.in_full else (x[rows], y[rows])))
            step(number, grads)
            losses.append(values)
        return work.curves(torch.stack(losses, 1).cpu().numpy())

    return run


def update(
    optimizer: Optimizer, params: Mapping[str, Any], rates: Any
) -> Callable[[int, Mapping[str, Any]], None]:
    """Make the update of SGD or Adam, in place, for parameters with axis R first."""
    rate = {name: rates.view(-1, *[1] * (leaf.ndim - 1)) for name, leaf in params.items()}
    first, second = ({k: torch.zeros_like(leaf) for k, leaf in params.items()} for _ in range(2))

    def sgd(_: int, grads: Mapping[str, Any]) -> None:
        for name, leaf in params.items():
            leaf.sub_(rate[name] * grads[name])

    def adam(step: int, grads: Mapping[str, Any]) -> None:
        for name, leaf in params.items():
            grad, mean, square = grads[name], first[name], second[name]
            mean.lerp_(grad, 0.1)
            square.mul_(0.999).addcmul_(grad, grad, value=0.001)
            scale = (square / (1 - 0.999**step)).sqrt_().add_(1e-8)
            leaf.sub_(mean.div(scale).mul_(rate[name] / (1 - 0.9**step)))

    return {"sgd": sgd, "adam": adam}[optimizer]
