import pytest

from amortized.errors import InputError
from amortized.objectives import Objective, elbo, iwae, needs


def test_a_bare_function_is_trained_with_the_samples_that_it_declares():
    assert Objective(iwae).samples == 5
    assert Objective(elbo).samples == 1
    assert Objective(iwae, samples=2).samples == 2


def test_a_function_of_ones_own_declares_its_samples():
    @needs("log_w", samples=7)
    def mine(terms):
        return terms.log_w.mean(0)

    assert Objective(mine).samples == 7
    assert "log_w" in Objective(mine).needs


def test_a_negative_number_of_samples_is_refused():
    with pytest.raises(InputError, match="-1"):
        Objective(elbo, samples=-1)


def test_a_fraction_of_a_sample_is_refused():
    with pytest.raises(InputError, match="2.5"):
        Objective(elbo, samples=2.5)  # pyright: ignore[reportArgumentType]
