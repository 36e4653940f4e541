"""What is believed of colourings, against SciPy's distributions and by hand."""

import jax.numpy as jnp
import numpy as np
from scipy import stats

from colorjax.methods import vividness

SCALES = np.array(vividness.CANDIDATES, np.float32)
BELIEFS = vividness.Beliefs(0.5, 30.0, 0.4, 1.2, 0.3)


def test_beliefs_multiply_the_rankers_opinion() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(3, len(SCALES)))
    colourful = np.array([[8.0], [20.0], [60.0]]) * SCALES
    got = np.asarray(BELIEFS(jnp.asarray(scores), jnp.asarray(colourful), jnp.asarray(SCALES)))
    expected = (
        0.5 * scores
        + stats.norm.logpdf(np.log(colourful), np.log(30.0), 0.4)
        + stats.norm.logpdf(np.log(SCALES), np.log(1.2), 0.3)
    )
    constant = (got - expected).mean()
    np.testing.assert_allclose(got, expected + constant, atol=1e-4)


def test_the_likeliest_is_the_middle_of_the_most_probable_three() -> None:
    share = np.full((3, len(SCALES)), 1e-6)
    share[0, [1, 2, 3, 7]] = 0.2, 0.2, 0.2, 0.4  # 0.7 to 0.9 hold more than 1.3 alone
    share[1, 8] = 1.0  # 1.3 and 1.4 reach it alike: the lower one
    share[2, [4, 5]] = 0.5, 0.5  # 1.0 and 1.1 hold both: the lower one
    index = np.asarray(vividness.likeliest(jnp.log(jnp.asarray(share)), jnp.asarray(SCALES)))
    np.testing.assert_allclose(SCALES[index], [0.8, 1.3, 1.0], atol=1e-6)
