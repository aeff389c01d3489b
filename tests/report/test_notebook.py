"""What a notebook shows of work under way, and what an interrupted cell keeps, in a real kernel."""

import pytest
from jupyter_client.manager import start_new_kernel

SETUP = """
import collections, jax, jaxnet, numpy as np, optax
from IPython.display import display
x = np.linspace(-3, 3, 64, dtype=np.float32)[:, None]
params = jaxnet.init(jax.random.key(0), [1, 4, 1])
loss = jaxnet.BatchLoss(jaxnet.forward, optax.losses.l2_loss)
sgd, data = optax.sgd(0.01), (x, np.sin(x))
"""
LONG = """
kept = collections.deque([], 1)
shown = display("compiling", display_id=True)
def watch(now):
    kept.append(now)
    shown.update(now)
jaxnet.fit(
    loss, sgd, params, data, epochs=10**8, patience=10**8, validation=data, on_progress=watch
)
"""
ON = """
done = int(kept[0].progress.epoch)
fit = jaxnet.fit(loss, sgd, params, data, epochs=done + 5, validation=data, resume=kept[0])
print(done > 0, fit.outcome, int(fit.progress.epoch) == done + 5)
"""
BAR = """
from jaxnet import report
with report.progress("epoch") as draw:
    for done in range(3):
        draw("<loss>", done + 1, 3)
"""


@pytest.fixture(scope="module")
def kernel():
    manager, client = start_new_kernel()
    yield manager, client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def run(client, code, until=None):
    """Run a cell; give its messages' kinds and contents, up to one that is waited for."""
    messages, sent = [], client.execute(code, stop_on_error=False)
    while True:
        message = client.get_iopub_msg(timeout=120)
        kind, content = message["msg_type"], message["content"]
        if message["parent_header"].get("msg_id") == sent:
            messages.append((kind, content))
            if kind == until or (kind, content.get("execution_state")) == ("status", "idle"):
                return messages


@pytest.mark.slow
def test_an_interrupted_cell_keeps_what_was_shown_and_goes_on(kernel):
    manager, client = kernel
    run(client, SETUP)
    shown = run(client, LONG, "update_display_data")
    assert "<svg" in shown[-1][1]["data"]["text/html"]
    manager.interrupt_kernel()
    printed = run(client, ON)
    assert [content["text"] for kind, content in printed if kind == "stream"] == [
        "True finished True\n"
    ]


@pytest.mark.slow
def test_a_bar_is_drawn_in_a_notebook(kernel):
    drawn = [content for kind, content in run(kernel[1], BAR) if kind == "update_display_data"]
    assert [each["data"]["text/html"] for each in drawn] == [
        f'<progress value="{done}" max="3"></progress> epoch {done} of 3  &lt;loss&gt;'
        for done in (1, 2, 3)
    ]
