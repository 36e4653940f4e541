"""Presets that the configurations share: Stable Diffusion 1.5's sizes and the small model's."""

from collections.abc import Iterable
from typing import Any

from ml_collections import ConfigDict

from colorjax.errors import UserError, one_of
from colorjax.methods import diffusing_colors, lcad

# How many pictures their training splits have; after L-CAD's selection COCO-Stuff has 59,000.
PICTURES = {"coco": 118_287, "multi_instance": 65_000, "imagenet": 1_281_167, "cifar10": 50_000}
# How the data sets of the papers are made ready, without --output.
PREPARE = {
    "coco": "--source=coco_stuff --input=coco --captions=coco/captions --short_side=320",
    "multi_instance": "--source=multi_instance --input=multi_instance --short_side=320",
    "imagenet": "--source=imagenet --input=imagenet --short_side=320",
    "cifar10": "--source=cifar10 --input=cifar-10-python.tar.gz",
}


def parse(argument: str | None, **defaults: Any) -> dict[str, Any]:
    """The part after the colon, such as `tiny,stage=latent,cec=none`: a bare word is a switch.

    Raises:
        UserError: a word that is no variant.
    """
    values = dict(defaults)
    for item in filter(None, (argument or "").split(",")):
        key, equals, value = item.partition("=")
        one_of("variant", key, defaults)
        switch = isinstance(defaults[key], bool)
        if switch == bool(equals):
            raise UserError(f"variant {item!r}: write {key if switch else key + '=VALUE'}")
        values[key] = True if switch else value
    return values


def recipe(file: str, variant: dict[str, Any]) -> str:
    """What `--config` takes for these variants, whatever the stage."""
    said = [
        key if value is True else f"{key}={value}"
        for key, value in variant.items()
        if value and key != "stage"
    ]
    return f"configs/{file}.py" + (f":{','.join(said)}" if said else "")


def choice(variant: str, value: str, allowed: Iterable[str]) -> str:
    """The value of a variant, if it is allowed.

    Raises:
        UserError: it is not.
    """
    one_of(f"variant {variant!r}", value, allowed)
    return value


def sd15() -> ConfigDict:
    """Stable Diffusion 1.5: 860 M UNet, 84 M VAE, CLIP ViT-L/14's text tower."""
    model = ConfigDict()
    model.image_size = 256
    _add_clip(model)
    _add_networks(model)
    _add_sampling(model)
    return model


def _add_clip(model: ConfigDict) -> None:
    """CLIP ViT-L/14: text and image tower, and the width of the space that they share."""
    model.text_encoder = ConfigDict(
        dict(
            vocab_size=49408,
            hidden_size=768,
            intermediate_size=3072,
            num_hidden_layers=12,
            num_attention_heads=12,
            max_position_embeddings=77,
            hidden_act="quick_gelu",
        )
    )
    model.image_encoder = ConfigDict(
        dict(
            image_size=224,
            patch_size=14,
            hidden_size=1024,
            intermediate_size=4096,
            num_hidden_layers=24,
            num_attention_heads=16,
            hidden_act="quick_gelu",
        )
    )
    model.projection_dim = 768


def _add_networks(model: ConfigDict) -> None:
    """Autoencoder and denoiser."""
    model.vae = ConfigDict(
        dict(
            block_out_channels=(128, 256, 512, 512),
            layers_per_block=2,
            latent_channels=4,
            norm_num_groups=32,
        )
    )
    model.unet = ConfigDict(
        dict(
            block_out_channels=(320, 640, 1280, 1280),
            layers_per_block=2,
            attention_levels=(True, True, True, False),
            num_attention_heads=(8, 8, 8, 8),
            transformer_depth=1,
            out_channels=4,
            norm_num_groups=32,
            linear_projection=False,
            cec="down_blocks",
            # Our reading of the paper's "each downsampling module": which convolutions of a block
            # are extended, and the luminance feature that they read, counted as in a list.
            cec_convolutions=("conv1",),
            cec_feature=-1,
        )
    )


def _add_sampling(model: ConfigDict) -> None:
    """Noise schedule, the settings of both methods, and what is ranked."""
    model.schedule = ConfigDict(dict(num_timesteps=1000, beta_start=0.00085, beta_end=0.012))
    model.scaling_factor = 0.18215
    model.colorize = ConfigDict(lcad.METHOD.defaults())
    model.cold = ConfigDict(
        dict(sigma=0.0, prediction="full", gray_channels=False, decoder="plain", colourfulness=0.0)
    )
    model.ranker = ConfigDict(dict(hidden_size=256, dropout=0.1, normalization="clip"))
    model.cold_colorize = ConfigDict(diffusing_colors.METHOD.defaults())
    del model.cold_colorize.decoder  # it is the one that was trained beside: `cold.decoder`


def tiny() -> ConfigDict:
    """The bundled model's sizes: the same classes for 32-pixel pictures."""
    model = sd15()
    model.image_size = 32
    model.text_encoder.update(
        vocab_size=1024,
        hidden_size=96,
        intermediate_size=384,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=24,
    )
    model.image_encoder.update(
        image_size=32,
        patch_size=4,
        hidden_size=96,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
    )
    model.projection_dim = 96
    model.vae.update(block_out_channels=(16, 32, 64), layers_per_block=1, norm_num_groups=8)
    model.unet.update(
        block_out_channels=(64, 128),
        layers_per_block=1,
        attention_levels=(False, True),
        num_attention_heads=(4, 4),
        norm_num_groups=8,
    )
    model.scaling_factor = 1.0  # measured when the VAE has been trained
    model.colorize.update(
        num_steps=4,
        guidance_scale=1.5,
        spacing="even",
        temperature=0.5,
        batch_size=8,
    )
    model.ranker.normalization = "none"
    model.cold_colorize.update(
        num_steps=10, negative_prompt="black and white, grayscale, monochrome", batch_size=8
    )
    return model


def stage(**changes: Any) -> ConfigDict:
    """How a stage is trained; `epochs` counts unless `total_steps` is set."""
    options = ConfigDict(
        dict(
            batch_size=32,
            epochs=1.0,
            total_steps=0,
            learning_rate=1e-4,
            schedule="constant",
            warmup_steps=0,
            b1=0.9,
            b2=0.999,
            weight_decay=0.0,
            clip_norm=0.0,
            accumulate=1,  # parts that a batch is computed in
            spike_factor=5.0,  # skip steps whose gradient is so many times the usual; 0: never
            max_skipped=10,  # steps in a row, for that or for NaN, that end the run
            ema_decay=0.0,
            trainable=(".*",),
            scarce_share=0.0,
            drop_share=0.0,
            partial_share=0.0,  # neither in the papers nor in the release
            turned_share=0.0,  # for captions that are measured: pictures with their hues turned
            gray_share=0.0,
        )
    )
    options.update(changes)
    return options


def lora(part: str) -> dict[str, Any]:
    """Low-rank adapters (Hu et al. 2021) of a UNet, which take the place of what is trained.

    `lora_targets` are regexes of kernels; those that begin with `text_encoder/` adapt the text
    encoder too.
    """
    return dict(
        lora_rank=0,  # 0: none
        lora_alpha=0.0,  # 0: as the rank
        lora_targets=(rf"{part}/.*/attn\d/to_(q|k|v|out_0)/kernel",),
        lora_name="",  # of the part of a release that can have several: lora_NAME
    )


# Of a stage that distils, to finish what was distilled (`colorjax/train/stages/adversarial.py`).
FINISH = dict(
    adversarial_weight=0.0,  # 0: it distils; 0.5 finishes --config.start_part instead
    perceptual_weight=5.0,
    perceptual_size=0,
    discriminator=dict(features=64, layers=3),
    finish_trainable=("up_blocks_.*", "conv_norm_out/.*", "conv_out/.*"),
)


def full(data: str) -> ConfigDict:
    """A run at Stable Diffusion 1.5's size on the data set `data/<data>`."""
    config = run()
    config.model = sd15()
    config.data.update(directory=f"data/{data}", eval_split="val")
    config.prepare, config.pictures = PREPARE[data], PICTURES[data]
    return config


def small() -> ConfigDict:
    """A run at the bundled model's size on CIFAR-10."""
    config = run()
    config.model = tiny()
    config.data.update(directory="data/cifar10", eval_split="test", crop="none")
    config.prepare, config.pictures = PREPARE["cifar10"], PICTURES["cifar10"]
    config.mesh.fsdp = 1  # a few megabytes are not worth a collective
    return config


def run() -> ConfigDict:
    """What every configuration says about a run."""
    config = ConfigDict()
    config.recipe = ""  # the command line's words for this configuration, without a stage
    config.seed = 0
    config.init_from = ""  # directory, fetched name or hub:owner/name to start from
    config.start_part = ""  # text_to_image_unet: from the stand-in, though there is a trained UNet
    config.lpips = ""  # directory with LPIPS's weights; empty: what colorjax.fetch got
    config.tokenizer = ""  # vocab.json and merges.txt, where init_from brings none
    config.data = ConfigDict(
        dict(directory="", train_split="train", eval_split="test", crop="random_resized")
    )
    # With both -1: weights and optimizer over as many devices as divide their number, up to 16.
    config.mesh = ConfigDict(dict(dcn=1, data=-1, fsdp=-1))
    config.sharding_rules = (
        ("params/.*", "fsdp"),
        ("(opt_state|ema)/.*", "fsdp"),
        (".*", "replicate"),
    )
    config.dtype = "float32"
    config.remat = "none"  # of the UNet's blocks; "products" or "blocks" save memory
    config.log_every = 50
    config.sample_every = 1000  # 0: never, not even at the end
    config.checkpoint_every = 1000
    config.keep_checkpoints = 2
    # Figures of held-out pictures, by the averaged weights; 0: never. They are of `eval_split`.
    config.evaluate_every = 0
    config.evaluate_pictures = 64
    config.keep_best = ""  # a measure, such as psnr_pooled or scarce/obedience
    return config
