"""The step of the plain MLP VAE on a CUDA device, captured by hand as one graph: the least that a step can take there."""

from collections.abc import Callable

import torch
from data import ROWS, pixels
from jobs_plain import PlainVAE, negative_elbo

WARM_UP = 3


def replay(batch: int) -> Callable[[int], int]:
    torch.manual_seed(0)
    x, model = pixels().cuda(), PlainVAE().cuda()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True, capturable=True)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        rows = torch.randint(ROWS, (batch,), device="cuda")
        negative_elbo(model, x.index_select(0, rows)).backward()
        optimizer.step()

    graph = _capture(step)

    def run(amount: int) -> int:
        for _ in range(amount):
            graph.replay()
        torch.cuda.synchronize()
        return amount * batch

    return run


def _capture(step: Callable[[], None]) -> torch.cuda.CUDAGraph:
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UP):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph
