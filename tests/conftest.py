import math
import signal
from collections.abc import Iterator

import pytest
import torch
from torch import nn
from torch.distributions import MultivariateNormal

from amortized import VAE, likelihoods, posteriors, priors
from amortized.networks import MLP
from amortized.report import closing
from tests.browsing import Opened, chromium, watched

CLOSE = closing.close


class LinearGaussian:
    """z ~ N(0, I), x | z ~ N(W z + b, s^2 I), with random W, b, s: all of its inference is known in closed form, float64.

    With M = I + W^T W / s^2: x ~ N(b, W W^T + s^2 I) and z | x ~ N(M^-1 W^T (x - b) / s^2, M^-1).
    """

    def __init__(self, latent_dim: int = 3, dimension: int = 5, *, seed: int = 0):
        noise = torch.Generator().manual_seed(seed)
        self.latent_dim, self.dimension = latent_dim, dimension
        self.weight = torch.randn(dimension, latent_dim, generator=noise, dtype=torch.float64)
        self.bias = torch.randn(dimension, generator=noise, dtype=torch.float64)
        self.scale = 0.5 + torch.rand((), generator=noise, dtype=torch.float64).item()
        self.covariance = torch.linalg.inv(torch.eye(latent_dim).double() + self.weight.T @ self.weight / self.scale**2)
        self.gain = self.covariance @ self.weight.T / self.scale**2

    @property
    def cholesky(self):
        """Log-diagonal, and entries below it, of the Cholesky factor of the posterior's covariance."""
        tril = torch.linalg.cholesky(self.covariance)
        return tril.diagonal().log(), tril[tuple(torch.tril_indices(self.latent_dim, self.latent_dim, offset=-1))]

    @property
    def marginal(self) -> MultivariateNormal:
        noise = self.scale**2 * torch.eye(self.dimension, dtype=torch.float64)
        return MultivariateNormal(self.bias, self.weight @ self.weight.T + noise)

    def log_px(self, x):
        """(B,) the exact log p(x)."""
        return self.marginal.log_prob(x)

    def posterior(self, x) -> MultivariateNormal:
        """The exact p(z | x)."""
        return MultivariateNormal((x - self.bias) @ self.gain.T, self.covariance)

    def expected_log_px(self, x, loc, covariance):
        """(B,) E[log p(x | z)] for z ~ N(loc, covariance), by its closed form."""
        likelihood = torch.distributions.Normal(loc @ self.weight.T + self.bias, self.scale)
        spread = (self.weight @ covariance @ self.weight.T).diagonal(dim1=-2, dim2=-1).sum(-1)
        return likelihood.log_prob(x).sum(-1) - spread / (2 * self.scale**2)

    def sample(self, n: int, seed: int = 1):
        """(n, dimension) data from the model itself."""
        noise = torch.randn(n, self.dimension, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        return self.bias + noise @ self.marginal.scale_tril.T

    def model(self, posterior: nn.Module | None = None) -> VAE:
        """This model, of the library's own parts, under the exact posterior or another one."""
        likelihood = likelihoods.Gaussian(MLP(self.latent_dim, []), self.dimension, scale=self.scale)
        vae = VAE(priors.StandardNormal(self.latent_dim), posterior or self.wide_posterior(1.0), likelihood).double()
        set_linear(likelihood.head.output, self.weight, self.bias)
        likelihood.get_buffer("scale.fixed").fill_(self.scale)  # again: the constructor has rounded it to float32
        return vae

    def full_posterior(self, gain, offset, constants) -> posteriors.FullGaussian:
        """q(z | x) = N(gain x + offset, L L^T), `constants` the log-diagonal of L and then its entries below."""
        posterior = posteriors.FullGaussian(MLP(self.dimension, []), self.latent_dim).double()
        zeros = torch.zeros(len(constants), self.dimension, dtype=torch.float64)
        set_linear(posterior.head.output, torch.cat((gain, zeros)), torch.cat((offset, constants)))
        return posterior

    def diagonal_posterior(self, gain, offset, log_scale) -> posteriors.DiagonalGaussian:
        """q(z | x) = N(gain x + offset, diag(exp(log_scale))^2)."""
        posterior = posteriors.DiagonalGaussian(MLP(self.dimension, []), self.latent_dim).double()
        set_linear(posterior.head.output, torch.cat((gain, torch.zeros_like(gain))), torch.cat((offset, log_scale)))
        return posterior

    def wide_posterior(self, factor: float) -> nn.Module:
        """The exact posterior with all standard deviations times `factor`: above 1 the importance weights are bounded."""
        log_scale, below = self.cholesky
        constants = torch.cat((log_scale + math.log(factor), factor * below))
        return self.full_posterior(self.gain, -self.gain @ self.bias, constants)

    def random_posterior(self, kind: str, *, size: float = 1.0, seed: int = 2) -> nn.Module:
        """A Gaussian posterior, "full" or "diagonal", off the exact one by a random amount of the order of `size`."""
        noise = torch.Generator().manual_seed(seed)

        def draw(*shape, scale):
            return size * scale * torch.randn(*shape, generator=noise, dtype=torch.float64)

        gain = self.gain + draw(*self.gain.shape, scale=0.05)
        offset = -self.gain @ self.bias + draw(self.latent_dim, scale=0.1)
        if kind == "diagonal":
            log_scale = self.covariance.diagonal().log() / 2 + draw(self.latent_dim, scale=0.2)
            return self.diagonal_posterior(gain, offset, log_scale)
        log_scale, below = self.cholesky
        constants = torch.cat((log_scale + draw(self.latent_dim, scale=0.2), below + draw(len(below), scale=0.1)))
        return self.full_posterior(gain, offset, constants)


@torch.no_grad()
def set_linear(layer, weight, bias):
    layer.weight.copy_(weight)
    layer.bias.copy_(bias)


@pytest.fixture
def usual_ctrl_c():
    """What a terminal gives, also to processes that a test starts.

    A shell starts background jobs with SIGINT ignored, and then Python leaves it so.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session", autouse=True)
def without_reports():
    """Fits of the tests write no page, but for those of tests that are marked `report`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(closing, "close", lambda run, *, quiet=False: None)
        yield


@pytest.fixture(autouse=True)
def _with_reports(request, monkeypatch):
    if request.node.get_closest_marker("report") is not None:
        monkeypatch.setattr(closing, "close", CLOSE)


@pytest.fixture
def linear_gaussian():
    return LinearGaussian()


@pytest.fixture(scope="session")
def browser():
    """Chromium, once for all tests of a worker."""
    with chromium() as running:
        yield running


@pytest.fixture
def opened(browser) -> Iterator[Opened]:
    """A new page, 1280 by 900, whose console and requests are recorded."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    yield watched(page)
    page.close()
