"""The guidance scale as an input of the UNet, against diffusers' time embedding."""

import jax.numpy as jnp
import numpy as np
import pytest

from colorjax.models.layers import apply
from colorjax.models.unet import TimestepEmbedding, guidance_features, timestep_features

torch = pytest.importorskip("torch")
embeddings = pytest.importorskip("diffusers.models.embeddings")


def test_the_embedding_of_time_and_guidance() -> None:
    rng = np.random.default_rng(0)
    scales, times = np.array([1.0, 2.5, 7.5], np.float32), np.array([0, 499, 999])
    reference = embeddings.TimestepEmbedding(32, 64, cond_proj_dim=16)
    ours = {}
    for name, layer in reference.named_children():
        if isinstance(layer, torch.nn.Linear):
            for leaf in layer.parameters():
                leaf.data = torch.from_numpy(rng.normal(size=leaf.shape).astype(np.float32))
            ours[name] = {"kernel": layer.weight.detach().numpy().T}
            if layer.bias is not None:
                ours[name]["bias"] = layer.bias.detach().numpy()
    assert set(ours) == {"linear_1", "cond_proj", "linear_2"}
    # diffusers embeds the scale by a method of a pipeline, whose formula this is, in its words.
    w = 1000.0 * torch.from_numpy(scales - 1.0)
    rates = torch.exp(torch.arange(8) * -(torch.log(torch.tensor(10000.0)) / 7))
    condition = torch.cat([torch.sin(w[:, None] * rates), torch.cos(w[:, None] * rates)], dim=1)
    np.testing.assert_allclose(guidance_features(jnp.asarray(scales), 16), condition, atol=2e-3)
    time = embeddings.get_timestep_embedding(
        torch.from_numpy(times), 32, flip_sin_to_cos=True, downscale_freq_shift=0
    )
    expected = reference(time, condition).detach().numpy()
    features = timestep_features(jnp.asarray(times), 32)
    got = apply(TimestepEmbedding(64), ours, features, jnp.asarray(condition.numpy()))
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-3)
