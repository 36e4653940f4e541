"""Weights of the training loss, by the formulas of their papers."""

import numpy as np
import pytest

from colorjax.maths import schedule

SD = schedule.scaled_linear()
T = np.array([0, 40, 500, 999])


@pytest.mark.parametrize("gamma", [0.0, 1.0, 5.0])
@pytest.mark.parametrize("prediction_type", schedule.PREDICTION_TYPES)
def test_losses_of_what_the_network_estimates(prediction_type: str, gamma: float) -> None:
    """Hang et al. 2023: of eps min(SNR, gamma) / SNR, of v min(SNR, gamma) / (SNR + 1).

    Both are min(SNR, gamma) times the squared error of z_0.
    """
    alpha = SD.alphas_cumprod[T].astype(np.float64)[:, None]
    signal, noise = np.sqrt(alpha), np.sqrt(1 - alpha)
    z_0, eps, wrong = np.random.default_rng(0).normal(size=(3, len(T), 100))
    z_t = signal * z_0 + noise * eps
    z_0_pred, v = (z_t - noise * wrong) / signal, signal * eps - noise * z_0
    v_pred = (wrong - noise * z_t) / signal
    snr = alpha / (1 - alpha)
    error, own = {
        "eps": ((wrong - eps) ** 2, np.minimum(snr, gamma) / snr),
        "v": ((v_pred - v) ** 2, np.minimum(snr, gamma) / (snr + 1)),
    }[prediction_type]
    weighted = own * error if gamma else error
    got = schedule.eps_weights(T, SD, prediction_type, gamma)[:, None] * (wrong - eps) ** 2
    np.testing.assert_allclose(got, weighted, rtol=1e-3)
    if gamma:
        np.testing.assert_allclose(got, np.minimum(snr, gamma) * (z_0_pred - z_0) ** 2, rtol=1e-3)
