"""Array types, of jax or NumPy, that signatures use.

A letter in a shape means the same size throughout a signature: b batch, H and W picture height and
width, h and w those of latents and maps, c channels, n tokens, d feature width.
"""

from typing import Any

from jaxtyping import Float, Int, Key, Real, UInt8

Array = Any  # jaxtyping takes it for anything with a shape and a type, of jax or NumPy

Image = Float[Array, "b H W 3"]  # sRGB in [-1, 1]
ImageBytes = UInt8[Array, "b H W 3"]  # sRGB in 0..255, as the input pipeline delivers
Luminance = Float[Array, "b H W 1"]  # L / 127.5 - 1 with L in 0..100
Latents = Float[Array, "b h w c"]  # scaled latents unless a docstring says otherwise
Moments = Float[Array, "b h w m"]  # posterior mean and log variance
Features = tuple[Float[Array, "b _ _ _"], ...]  # luminance features, fine to coarse
Timesteps = Real[Array, "b"]  # 0..999; whole numbers but in cold diffusion, where it is 999 t
TokenIds = Int[Array, "b n"]
Context = Float[Array, "b n d"]  # text states
PRNGKey = Key[Array, ""]
Params = dict[str, Any]  # nested dict of arrays; paths are those of diffusers
