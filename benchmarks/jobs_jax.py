"""The MLP VAE by hand in JAX: one jitted `lax.scan` over the steps, with the batches gathered from memory inside it."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from data import EVENT, HIDDEN, LATENT, ROWS, pixels

WIDTHS = ((EVENT, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, 2 * LATENT), (LATENT, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, EVENT))
STEPS_PER_CALL = 20


def train_mlp(batch: int) -> Callable[[int], int]:
    x = jnp.asarray(pixels().numpy())
    parameters = _initial(jax.random.key(0))
    zeros = jax.tree.map(jnp.zeros_like, parameters)

    @jax.jit
    def steps(state, x):
        def one(state, _):
            parameters, first, second, step, key = state
            key, order, noise = jax.random.split(key, 3)
            rows = jax.random.randint(order, (batch,), 0, ROWS)
            gradients = jax.grad(_loss)(parameters, x[rows], noise)
            parameters, first, second = _adam(parameters, gradients, first, second, step + 1)
            return (parameters, first, second, step + 1, key), None

        return jax.lax.scan(one, state, None, length=STEPS_PER_CALL)[0]

    state = (parameters, zeros, zeros, jnp.zeros(()), jax.random.key(1))

    def run(amount: int) -> int:
        nonlocal state
        calls = -(-amount // STEPS_PER_CALL)
        for _ in range(calls):
            state = steps(state, x)
        jax.block_until_ready(state)
        return calls * STEPS_PER_CALL * batch

    return run


def _initial(key):
    keys = jax.random.split(key, len(WIDTHS))
    return [
        (jax.random.uniform(k, (i, o), minval=-1, maxval=1) / jnp.sqrt(i), jnp.zeros(o))
        for k, (i, o) in zip(keys, WIDTHS, strict=True)
    ]


def _loss(parameters, x, key):
    (w1, b1), (w2, b2), (w3, b3), (w4, b4), (w5, b5), (w6, b6) = parameters
    h = jax.nn.relu(jax.nn.relu(x @ w1 + b1) @ w2 + b2)
    mean, log_scale = jnp.split(h @ w3 + b3, 2, axis=1)
    z = mean + jnp.exp(log_scale) * jax.random.normal(key, mean.shape)
    logits = jax.nn.relu(jax.nn.relu(z @ w4 + b4) @ w5 + b5) @ w6 + b6
    log_px = (x * logits - jax.nn.softplus(logits)).sum(1)
    kl = (0.5 * (mean**2 + jnp.exp(2 * log_scale) - 1) - log_scale).sum(1)
    return (kl - log_px).mean()


def _adam(parameters, gradients, first, second, step, lr=1e-3, b1=0.9, b2=0.999, eps=1e-8):
    first = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, first, gradients)
    second = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g * g, second, gradients)
    rate = lr * jnp.sqrt(1 - b2**step) / (1 - b1**step)
    parameters = jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v) + eps), parameters, first, second)
    return parameters, first, second
