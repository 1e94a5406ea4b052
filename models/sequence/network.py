"""The sequence model in JAX: the network, its loss, and one step of Adam. Needs the extra `sequence`."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from models.sequence.encoder import EPSILON
from models.sequence.parameters import SequenceParameters
from models.sequence.weights import shapes

Arrays = dict[str, Any]
"""The arrays of `models.sequence.weights`, and `items` (n_items, d)."""
_MASKED = -1e9
_DEVIATION = 0.02  # of the first weights
_BETAS = 0.9, 0.98
_TINY = 1e-8


def first_arrays(n_items: int, parameters: SequenceParameters, generator: np.random.Generator) -> Arrays:
    """Where the training starts."""
    drawn = shapes(parameters.length, parameters.dimensions, parameters.blocks) | {
        "items": (n_items, parameters.dimensions)
    }
    found: Arrays = {}
    for name, shape in drawn.items():
        if name.endswith("_scale"):
            found[name] = jnp.ones(shape, jnp.float32)
        elif name.endswith(("_shift", "_bias")):
            found[name] = jnp.zeros(shape, jnp.float32)
        else:
            # A deviation as of Glorot for the squares; small for what is looked up.
            deviation = 1 / np.sqrt(parameters.dimensions) if len(shape) == 3 else _DEVIATION
            found[name] = jnp.asarray(generator.normal(0, deviation, shape), jnp.float32)
    return found


def hidden(arrays: Arrays, items: Any, heads: int, dropout: float = 0.0, key: Any = None) -> Any:
    """(b, w, d): after each event, the vector by which the next one is foretold.

    Args:
        items: (b, w) int32, padded at the end, where the result means nothing: what comes later is not read.
        key: of the dropout; None where there is none.
    """
    b, w = items.shape
    d = arrays["items"].shape[1]

    def drop(x: Any, number: int) -> Any:
        if key is None or dropout == 0:
            return x
        keep = jax.random.bernoulli(jax.random.fold_in(key, number), 1 - dropout, x.shape)
        return jnp.where(keep, x / (1 - dropout), 0.0)

    x = drop(arrays["items"][jnp.maximum(items, 0)] * np.sqrt(d) + arrays["positions"][:w], 0)
    future = jnp.triu(jnp.full((w, w), _MASKED), 1)
    for block in range(len(arrays["query"])):
        normal = _normalised(x, arrays["attention_scale"][block], arrays["attention_shift"][block])
        query, key_, value = (
            (normal @ arrays[name][block]).reshape(b, w, heads, d // heads) for name in ("query", "key", "value")
        )
        scores = jnp.einsum("bqhd,bkhd->bhqk", query, key_) / np.sqrt(d / heads) + future
        read = jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores), value).reshape(b, w, d)
        x = x + drop(read @ arrays["attention_out"][block], 2 * block + 1)
        normal = _normalised(x, arrays["inner_scale"][block], arrays["inner_shift"][block])
        inner = jax.nn.relu(normal @ arrays["inner"][block] + arrays["inner_bias"][block])
        x = x + drop(inner @ arrays["inner_out"][block] + arrays["inner_out_bias"][block], 2 * block + 2)
    return _normalised(x, arrays["last_scale"], arrays["last_shift"])


def loss(
    arrays: Arrays, items: Any, targets: Any, drawn: Any, log_expected: Any, key: Any, heads: int, dropout: float
) -> Any:
    """Mean of the softmax loss over the events to foretell, estimated from the items that were drawn.

    A drawn item stands for 1 / (how often it is expected to be drawn) items, so its score is lowered by the logarithm
    of that; the event that really came is there for certain and is left as it is.

    Args:
        drawn: (k,) int32, items; `log_expected` (k,) of how often each is drawn.
    """
    vectors = hidden(arrays, items, heads, dropout, key)
    right = jnp.einsum("bwd,bwd->bw", vectors, arrays["items"][jnp.maximum(targets, 0)])
    others = vectors @ arrays["items"][drawn].T - log_expected
    others = jnp.where(drawn == targets[..., None], _MASKED, others)
    total = jnp.logaddexp(right, jax.nn.logsumexp(others, axis=2))
    counted = targets >= 0
    return jnp.where(counted, total - right, 0.0).sum() / jnp.maximum(counted.sum(), 1)


@partial(jax.jit, static_argnames=("heads", "dropout", "rate"), donate_argnums=(0, 1))
def step(
    arrays: Arrays,
    moments: tuple[Arrays, Arrays],
    number: Any,
    items: Any,
    targets: Any,
    drawn: Any,
    log_expected: Any,
    key: Any,
    heads: int,
    dropout: float,
    rate: float,
) -> tuple[Arrays, tuple[Arrays, Arrays], Any]:
    """One step of Adam (Kingma, Ba, ICLR 2015): arrays, moments and the loss before it. `number` counts from 1."""
    value, slope = jax.value_and_grad(loss)(arrays, items, targets, drawn, log_expected, key, heads, dropout)
    one, two = _BETAS
    first = jax.tree.map(lambda m, g: one * m + (1 - one) * g, moments[0], slope)
    second = jax.tree.map(lambda v, g: two * v + (1 - two) * g * g, moments[1], slope)
    size = rate * jnp.sqrt(1 - two**number) / (1 - one**number)
    arrays = jax.tree.map(lambda a, m, v: a - size * m / (jnp.sqrt(v) + _TINY), arrays, first, second)
    return arrays, (first, second), value


def _normalised(x: Any, scale: Any, shift: Any) -> Any:
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = (centred * centred).mean(axis=-1, keepdims=True)
    return centred / jnp.sqrt(variance + EPSILON) * scale + shift
