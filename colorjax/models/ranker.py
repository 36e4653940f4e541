"""The colour ranker: CLIP's image tower with a small head that scores how right colours look.

That Diffusing Colors' ranker is built on CLIP is known; tower, head and loss are our choice.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Float

from colorjax.maths.types import Array, Image
from colorjax.models.clip import CLIPVisionModel, layer_norm
from colorjax.models.layers import dense

# Channel means and deviations, on [0, 1], of the pictures that towers were trained on. The small
# tower of this project saw [-1, 1] as it is.
NORMALIZATIONS = {
    "none": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
}


class Head(nn.Module):
    """Layer norm and two linear layers; dropout acts only where the caller gives its randomness."""

    hidden_size: int = 256
    dropout: float = 0.1
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, pooled: Float[Array, "b d"], train: bool = False) -> Float[Array, " b"]:
        hidden = dense(self.hidden_size, self.dtype, "fc1")(layer_norm(self.dtype, "norm")(pooled))
        hidden = nn.gelu(hidden, approximate=False)
        hidden = nn.Dropout(self.dropout, deterministic=not train)(hidden)
        return dense(1, self.dtype, "fc2")(hidden)[:, 0].astype(jnp.float32)


class Ranker(nn.Module):
    """Pictures in [-1, 1] to scores, comparable among versions of one photograph only."""

    vision: CLIPVisionModel
    hidden_size: int = 256
    dropout: float = 0.1
    normalization: str = "clip"
    dtype: Any = jnp.float32

    def setup(self) -> None:
        self.vision_model = self.vision.clone()
        self.head = Head(self.hidden_size, self.dropout, self.dtype)

    def __call__(self, image: Image, train: bool = False) -> Float[Array, " b"]:
        """Scores pictures of any size; larger is better."""
        side = self.vision.image_size
        if image.shape[1:3] != (side, side):
            # CLIP's own preprocessing is bicubic too, and averages what it shrinks.
            image = jax.image.resize(image, (len(image), side, side, 3), "cubic")
        mean, deviation = (jnp.asarray(v) for v in NORMALIZATIONS[self.normalization])
        normal = ((image + 1.0) / 2.0 - mean) / deviation
        return self.head(self.vision_model(normal)[1], train)
