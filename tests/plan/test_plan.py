"""Reading compiled programs, the arithmetic of rooflines, topologies. No TPU compiler is needed."""

import functools
import json
from collections import Counter
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from colorjax.configs import common
from colorjax.devices import chips, sharding
from colorjax.errors import UserError
from colorjax.methods import diffusing_colors, lcad
from colorjax.plan import costs, flops, hlo, lowering, roofline, sampling, sweep, unet_levels
from colorjax.train.stages import STAGES
from tests import small

# As the TPU compiler writes it, shortened: a loop of seven, a fused reduce-scatter, one
# collective of each kind, an estimate that it does not have.
TEXT = """
HloModule jit_step, is_scheduled=true

%all-reduce-scatter.1 (p: f32[64]) -> f32[16] {
  %p = f32[64]{0} parameter(0)
  %all-reduce.9 = f32[64]{0} all-reduce(%p), replica_groups={{0,1,2,3}}, to_apply=%add
  ROOT %slice = f32[16]{0} dynamic-slice(%all-reduce.9, %c)
}

%fused (p: f32[8]) -> f32[8] {
  ROOT %m = f32[8]{0} multiply(%p, %p), backend_config={"estimated_cycles":"999"}
}

%body (p: f32[8]) -> f32[8] {
  %p = f32[8]{0} parameter(0)
  %ag = bf16[4,10]{1,0} all-gather(%p), dimensions={0}
  ROOT %f = f32[8]{0} fusion(%p), kind=kLoop, calls=%fused, metadata={op_name="jit(step)/while/attn1/dot"}, backend_config={"estimated_cycles":"10"}
}

ENTRY %main (a: f32[8]) -> f32[8] {
  %w = f32[8]{0} while(%a), condition=%cond, body=%body, backend_config={"known_trip_count":{"n":"7"}}
  %g = (bf16[5]{0}, bf16[20]{0}) all-gather-start(%a), dimensions={0}
  %r = (f32[3]{0}, bf16[2]{0}) all-reduce(%a, %b), channel_id=1, to_apply=%add
  %h = bf16[6]{0} all-gather(%a), channel_id=12, dimensions={0}
  %i = bf16[6]{0} all-gather(%a), channel_id=12, dimensions={0}
  %j = bf16[6]{0} all-gather(%a), channel_id=1, dimensions={0}
  %s = f32[16]{0} fusion(%a), kind=kCustom, calls=%all-reduce-scatter.1, backend_config={"estimated_cycles":"5"}
  %n = f32[8]{0} fusion(%a), calls=%fused, backend_config={"estimated_cycles":"9223372036854775807"}
  ROOT %u = f32[8]{0} fusion(%a), calls=%fused, metadata={op_name="jit(step)/transpose(jvp)/conv1/conv"}, backend_config={"estimated_cycles":"100"}
}
"""  # noqa: E501


def test_a_program_is_read() -> None:
    got = hlo.read(TEXT)
    assert got.cycles == 7 * 10 + 5 + 100
    assert got.by_source == Counter(
        {
            "jit(step)/transpose(jvp)/conv1/conv": 100,
            "jit(step)/while/attn1/dot": 70,
            "?": 5,
        }
    )
    assert [(c.kind, c.size, c.times) for c in got.collectives] == [
        ("all-gather", 80, 7),
        ("all-gather", 40, 1),
        ("all-reduce", 16, 1),
        ("all-gather", 12, 1),
        ("all-gather", 12, 1),
        ("reduce-scatter", 64, 1),
    ]
    assert got.host_calls == 0
    with_call = TEXT.replace(
        "ROOT %u", '%c = f32[] custom-call(), custom_call_target="xla_callback"'
    )
    assert hlo.read(with_call).host_calls == 1
    assert costs.layer("jit(step)/transpose(jvp)/conv1/conv") == "backward conv1"
    assert costs.layer("jit(step)/while/attn1/dot") == "forward attn1"
    assert costs.layer("jit(step)/add") == "update"
    assert costs.layer("?") == "copies and other operations without a name"


# A loop as newer compilers write it: only its condition says how often it runs.
COUNTED = """
%cond (c: (s32[], f32[8])) -> pred[] {
  %n = s32[]{:T(128)} constant(5)
  %i = s32[]{:T(128)} get-tuple-element(%c), index=0
  ROOT %lt = pred[] compare(%i, %n), direction=LT
}

%body (c: (s32[], f32[8])) -> (s32[], f32[8]) {
  %p = f32[8]{0:T(8)} get-tuple-element(%c), index=1
  %near = f32[1024]{0:T(8)S(1)} broadcast(%p), dimensions={}
  ROOT %f = f32[4]{0} fusion(%p, %near), kind=kLoop, calls=%fused, backend_config={"estimated_cycles":"10"}
}

ENTRY %main (a: f32[8]) -> f32[8] {
  %w = (s32[], f32[8]{0}) while(%t), condition=%cond, body=%body
}
"""  # noqa: E501


def test_loops_count_as_often_as_they_run() -> None:
    got = hlo.read(COUNTED)
    assert got.cycles == 5 * 10
    # broadcast reads 32 bytes and writes vector memory; the fusion reads 32 and writes 16.
    assert got.repeated == 4 * (32 + 32 + 16)
    assert hlo.read(COUNTED.replace("LT", "NE")).cycles == 10


def test_flops_of_loops_by_hand() -> None:
    def body(total, _):
        return total @ total, None

    def program(a, maps, kernel):
        a = jax.lax.scan(jax.checkpoint(body), a, None, 7)[0]
        kind = ("NHWC", "HWIO", "NHWC")

        def convolve(maps):
            return jax.lax.conv_general_dilated(
                maps, kernel, (1, 1), "SAME", dimension_numbers=kind
            )

        return a, jax.lax.map(convolve, maps)

    shapes = [jax.ShapeDtypeStruct(s, np.float32) for s in ((4, 4), (3, 2, 8, 8, 5), (3, 3, 5, 6))]
    traced = jax.jit(program).trace(*shapes)
    product, convolution = 2 * 4 * 4 * 4, 2 * (2 * 8 * 8 * 6) * (3 * 3 * 5)
    assert flops.repeated(traced.jaxpr.jaxpr) == 6 * product + 2 * convolution


@pytest.mark.proof
def test_products_of_stable_diffusion() -> None:
    """The figure usually quoted: 401.6 G multiply-adds of the UNet at 512 pixels, one picture."""
    network = lcad.build(common.sd15().to_dict()).unet.clone(cec="none")
    shapes = ((1, 64, 64, 4), np.float32), ((1,), np.int32), ((1, 77, 768), np.float32)
    inputs = [jax.ShapeDtypeStruct(shape, kind) for shape, kind in shapes]
    traced = jax.jit(network.init_with_output).trace(jax.random.key(0), *inputs)
    assert flops.products(traced.jaxpr.jaxpr) == pytest.approx(2 * 401.6e9, rel=0.01)
    assert flops.repeated(traced.jaxpr.jaxpr) > 0, "attention over 4,096 tokens is a loop"


def test_what_a_real_program_communicates() -> None:
    """Of this machine's compiler: the sum of a sharded array is one all-reduce of one number."""
    mesh = sharding.make_mesh()
    array = jax.ShapeDtypeStruct((64, 4), np.float32, sharding=NamedSharding(mesh, P("data")))
    total = jax.jit(lambda x: x.sum(), out_shardings=sharding.replicated(mesh))
    got = hlo.read(total.lower(array).compile().as_text())
    assert [(c.kind, c.size) for c in got.collectives] == [("all-reduce", 4)]


def cost(**changes):
    values = dict(
        what="latent",
        per_chip=8,
        seconds=300.0,
        flops=197e12,
        model_flops=98.5e12,
        bytes=0.41e12,
        cycles=3 * 10**9,
        arguments=10 * chips.GIB,
        temporaries=3 * chips.GIB,
        peak=13 * chips.GIB,
        collectives={"all-reduce": (15, 4 * 10**9), "all-gather": (2, 10**9)},
        hot=[("update", 3 * 10**8)],
    )
    return costs.Cost(**values | changes)


def test_rooflines_by_hand() -> None:
    topology = chips.topology("v5e:4x4")
    got = roofline.estimate(cost(), topology)
    assert got.compute == pytest.approx(1.0) and got.memory == pytest.approx(0.5)
    assert got.compiler == pytest.approx(2.0)
    assert got.network == pytest.approx((2 * 4e9 + 1e9) * 15 / 16 / 200e9)
    assert got.step == pytest.approx(2.0) and got.limit == "how the compiler runs it"
    assert roofline.estimate(cost(cycles=0), topology).step == pytest.approx(1.0)
    text = roofline.report(cost(), topology, 64 * 86400)
    # 128 pictures in 2 s: 64 a second, so one day of sixteen chips; half of 197 TFLOP/s over 2 s.
    for words in (
        "at least 1 days",
        "384 chip-hours",
        "25 % MFU",
        "64 images/s",
        "13.00 of 16 GiB: fits",
    ):
        assert words in text, text
    assert "does NOT fit" in roofline.report(cost(peak=17 * chips.GIB), topology, None)
    assert costs.Cost(**json.loads(json.dumps(cost()._asdict()))).cycles == 3 * 10**9


def test_topologies() -> None:
    assert chips.topology("v5e:16x16").size == 256
    assert chips.topology("v5p:2x2x4").chip.memory == 95 * chips.GIB
    assert chips.environment(chips.topology("v4:2x2x4"))["TPU_ACCELERATOR_TYPE"] == "v4-32"
    assert chips.environment(chips.topology("v5e:4x4"))["TPU_ACCELERATOR_TYPE"] == "v5litepod-16"
    for wrong in ("v5e", "v9:4x4", "v5e:2x2x2", "v5p:4x4", "v5e:32x32", "v5e:0x4"):
        with pytest.raises(UserError, match="topology is"):
            chips.topology(wrong)
    assert chips.peak_flops("TPU v5 lite") == 197e12 and chips.peak_flops("TPU v5") == 459e12
    assert chips.peak_flops("cpu") is None


# The stages that trace least; the others take seconds each.
QUICK = ("luminance", "latent", "clip", "vae")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.proof] * (n not in QUICK)) for n in STAGES]
)
def test_stages_are_built_from_shapes(name: str, tmp_path, monkeypatch) -> None:
    """No weight is computed or read: the parameters are those of the real stage, as shapes."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    config = small.cold_config() if name in ("cold", "distill", "ranker") else small.config()
    if name == "luminance":
        config.luminance.perceptual_weight = 0.5
    stage = lowering.stage_of(name, config)
    state = jax.eval_shape(stage.init, jax.random.key(0), stage.start)
    leaves = jax.tree.leaves((stage.frozen, state))
    assert leaves and all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in leaves)


def changed(config, section: str, **settings):
    config.model[section].update(settings)
    return config


def cold(**settings):
    """Diffusing Colors with networks of one level."""
    config = changed(small.cold_config(), "cold_colorize", **settings)
    for network in ("vae", "unet"):
        config.model[network].update(small.smallest().model[network])
    return config


SAMPLERS = {
    "lcad": small.smallest,
    "another sampler": lambda: changed(small.smallest(), "colorize", sampler="unipc"),
    "plain decoder": lambda: changed(small.smallest(), "colorize", decoder="plain"),
    "instance-aware": small.smallest,
    "diffusing_colors": cold,
    "another solver": lambda: cold(solver="heun", num_steps=3),
    "no guidance": lambda: changed(cold(guidance_scale=1.0), "cold", decoder="guided"),
}


def colorize_by_hand(config, params, luminance, ids, keys, spans):
    """The method's own function with the settings written out once more."""
    sizes = config.model.to_dict()
    if config.method == "lcad":
        its = sizes["colorize"]
        names = ("num_steps", "spacing", "sampler", "decoder", "refine_step_size")
        options = lcad.Options(**{name: its[name] for name in names})
        inputs = lcad.Inputs(
            luminance, ids, ids, its["guidance_scale"], keys, temperature=its["temperature"]
        )
        return lcad.colorize(lcad.build(sizes), params, inputs, options)
    its = sizes["cold_colorize"]
    inputs = diffusing_colors.Inputs(
        luminance,
        ids,
        ids if its["guidance_scale"] != 1 else None,
        its["guidance_scale"],
        its["vividness"],
        keys,
    )
    options = diffusing_colors.Options(its["num_steps"], its["solver"])
    return diffusing_colors.colorize(diffusing_colors.build(sizes), params, inputs, options)


@functools.cache
def lowered_sampler(name: str) -> costs.Lowered:
    mesh = sharding.make_mesh(devices=jax.devices()[:2])
    return sampling.sampler(SAMPLERS[name](), mesh, per_chip=3, masks=name == "instance-aware")


@pytest.mark.proof
@pytest.mark.parametrize("name", ["plain decoder", "no guidance"])
def test_the_sampler_is_the_production_function(name: str) -> None:
    config = SAMPLERS[name]()
    sizes, key = config.model.to_dict(), jax.random.key(0)
    shapes = jax.eval_shape(lambda: lcad.init(lcad.build(sizes), key))
    if config.method == "diffusing_colors":
        model = diffusing_colors.build(sizes)
        shapes["cold_unet"] = jax.eval_shape(lambda: diffusing_colors.init_unet(model, key))
    inputs = [
        jax.ShapeDtypeStruct((3, 32, 32, 1), np.float32),
        jax.ShapeDtypeStruct((3, 24), np.int32),
        jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 3)),
        jax.ShapeDtypeStruct((3, 8, 24), bool),
    ]
    traced = jax.jit(functools.partial(colorize_by_hand, config)).trace(shapes, *inputs)
    # Six pictures on two chips: a chip's FLOPs are those of three.
    assert lowered_sampler(name).flops == pytest.approx(flops.products(traced.jaxpr.jaxpr))
    assert lowered_sampler(name).repeated == pytest.approx(flops.repeated(traced.jaxpr.jaxpr))


@pytest.mark.proof
def test_every_setting_of_the_sampler_gives_another_program() -> None:
    texts = [lowered_sampler(name).program.as_text() for name in SAMPLERS]
    assert len(set(texts)) == len(SAMPLERS)


def test_a_sampler_that_does_not_exist_is_told() -> None:
    mesh = sharding.make_mesh(devices=jax.devices()[:1])
    config = small.config()
    config.method = "magic"
    with pytest.raises(UserError, match="method is 'magic'; it must be one of lcad, diff"):
        sampling.sampler(config, mesh, 1)
    with pytest.raises(UserError, match="sampler is 'fast'"):
        sampling.sampler(changed(small.config(), "colorize", sampler="fast"), mesh, 1)


def test_no_mesh_is_set_while_a_batch_is_shaped(monkeypatch) -> None:
    """Described devices run nothing; with their mesh set, shaping would ask them for a key."""
    meshes = []

    class Shaped(Exception):
        pass

    def batch(*_: object) -> None:
        meshes.append(jax.sharding.get_abstract_mesh().empty)
        raise Shaped

    monkeypatch.setattr(unet_levels, "batch", batch)
    with pytest.raises(Shaped):
        lowering.training(small.smallest(), sharding.make_mesh(), "unet", 1)
    assert meshes == [True]


@pytest.mark.proof
def test_the_unet_alone_has_the_loss_of_its_stage() -> None:
    """The error of v by its formula, with a network that reads another feature than the last."""
    config = small.smallest()
    with config.unlocked():
        config.model.prediction_type = "v"
    config.model.unet.cec_feature = 0
    stage = unet_levels.stage(config, config.latent)
    params = small.drawn(lambda key: stage.init(key, {}).params)
    state = jax.eval_shape(stage.init, jax.random.key(0), {})
    state = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), state)
    rng, key = np.random.default_rng(2), jax.random.key(5)
    batch = {
        name: rng.normal(size=one.shape).astype(np.float32)
        for name, one in unet_levels.batch(config, 2).items()
    }
    _, metrics = jax.jit(stage.step)(state._replace(params=params), {}, batch, key)

    model, z_0 = unet_levels.model_of(config), batch["latents"]
    time_key, eps_key = jax.random.split(key)
    timesteps = np.asarray(jax.random.randint(time_key, (2,), 0, 1000))
    eps = np.asarray(jax.random.normal(eps_key, z_0.shape))
    alpha = model.schedule.alphas_cumprod.astype(np.float64)[timesteps][:, None, None, None]
    signal, noise = np.sqrt(alpha), np.sqrt(1 - alpha)
    z_t = (signal * z_0 + noise * eps).astype(np.float32)
    arguments = (z_t, timesteps, batch["context"], batch["feature"])
    output = jax.jit(lambda tree, *of: model.unet.apply({"params": tree}, *of))(params, *arguments)
    expected = ((np.asarray(output) - (signal * eps - noise * z_0)) ** 2).mean()
    assert float(metrics["loss"]) == pytest.approx(expected, rel=1e-4)


@pytest.fixture
def versions(monkeypatch) -> dict[str, str]:
    """Compilers that are installed, as the metadata of packages says."""
    installed = {"libtpu": "1", "jax": "2"}
    monkeypatch.setattr(costs.metadata, "version", installed.__getitem__)
    return installed


@pytest.mark.parametrize(
    "change",
    [
        lambda package: (package / "top.py").write_text("a = 2\n"),
        lambda package: (package / "room" / "deep" / "inner.py").write_text("b = 2\n"),
        lambda package: (package / "room" / "new.py").write_text(""),
        lambda package: (package / "top.py").rename(package / "other.py"),
        lambda package: (package / "room" / "deep" / "inner.py").unlink(),
    ],
)
def test_any_change_of_the_package_is_a_new_price(change, versions, tmp_path, monkeypatch) -> None:
    package = tmp_path / "package"
    (package / "room" / "deep").mkdir(parents=True)
    (package / "top.py").write_text("a = 1\n")
    (package / "room" / "deep" / "inner.py").write_text("b = 1\n")
    monkeypatch.setattr(costs, "PACKAGE", package)
    before = costs.deciding_text(small.config(), ["step"])
    assert costs.deciding_text(small.config(), ["step"]) == before
    change(package)
    assert costs.deciding_text(small.config(), ["step"]) != before


def test_prices_are_those_of_this_package_and_kept_by_everything_else(versions, tmp_path) -> None:
    assert Path(lcad.__file__).is_relative_to(costs.PACKAGE)

    def text(rest="step", **changes) -> str:
        config = small.config()
        config.update(changes)
        return costs.deciding_text(config, [rest])

    texts = [text(), text("other"), text(remat="blocks"), text(dtype="bfloat16")]
    texts += [text(method="diffusing_colors"), text(mesh={"fsdp": 8})]
    texts.append(
        costs.deciding_text(changed(small.config(), "colorize", sampler="unipc"), ["step"])
    )
    versions["libtpu"] = "1.1"
    texts.append(text())
    assert len(set(texts)) == len(texts)
    compiled = []
    for one in [*texts, *texts]:
        costs.remember(one, lambda: compiled.append(1) or cost(), tmp_path)
    assert len(compiled) == len(texts)
    assert costs.remember(texts[0], lambda: pytest.fail("compiled again"), tmp_path).cycles == 3e9
    for file, damage in zip(sorted(tmp_path.glob("*.json")), ("", "{", "[1]", '{"what": 1}', "\0")):
        file.write_text(damage)
    for one in texts:
        costs.remember(one, lambda: compiled.append(1) or cost(), tmp_path)
    assert len(compiled) == len(texts) + 5, "what is damaged is made anew"


def test_no_compiler_is_told() -> None:
    with pytest.raises(UserError, match="pip install 'colorjax"):
        costs.deciding_text(small.config(), [])


class Refusing:
    """A program that the compiler has no room for."""

    def compile(self, options):
        raise RuntimeError("RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm.\nMore.")


def test_what_does_not_fit_is_told_or_ranked_last() -> None:
    topology, lowered = chips.topology("v5e:2x4"), costs.Lowered("latent", 64, Refusing())
    with pytest.raises(
        costs.TooLarge, match="latent with 64 .* v5e:2x4 .*space hbm.\\); take fewer"
    ):
        costs.compiled(lowered, topology, fast=True)
    got = costs.compiled_or_too_large(lowered, topology, fast=True)
    assert min(got.peak, got.temporaries) > 1000 * topology.chip.memory and got.per_chip == 64


def levels():
    config = small.config()
    unet = unet_levels.model_of(config).unet
    return config, unet, list(unet_levels.levels(unet, unet_levels.batch(config, 2)))


def test_levels_are_those_of_the_network() -> None:
    """Every parameter of the UNet's blocks, in the shapes of the whole network's."""
    config, unet, blocks = levels()
    stage = unet_levels.stage(config, config.latent)
    whole = jax.eval_shape(stage.init, jax.random.key(0), {}).params
    names = [name for name in whole if "block" in name]
    assert sorted(level.name for level in blocks) == sorted(names)
    for level in blocks:
        made = jax.eval_shape(level.module.init, jax.random.key(0), *level.inputs)["params"]
        assert jax.tree.map(lambda leaf: leaf.shape, made) == jax.tree.map(
            lambda leaf: leaf.shape, whole[level.name]
        )


def test_a_level_gives_gradients_of_what_is_trained_alone() -> None:
    config, _, (first, *_) = levels()
    config.latent.trainable = ("(.*/)?cec_.*",)
    mesh = sharding.make_mesh(devices=jax.devices()[:1])
    weights, inputs = unet_levels.gradient(first, config, config.latent, mesh).out_info
    assert list(weights) == ["down_blocks_0/resnets_0/cec_conv1/kernel"]
    assert inputs[0].shape == first.inputs[0].shape


@pytest.mark.slow
def test_ranking(monkeypatch) -> None:
    """Compiled by this machine's compiler, which has no cycles: rooflines decide."""
    config, topology = small.config(), chips.topology("v5e:2x4")
    config.latent.total_steps = 1

    def mesh_of(of, config):
        return sharding.make_mesh(-1, config.mesh.fsdp, devices=jax.devices()[: of.size])

    monkeypatch.setattr(lowering, "mesh_of", mesh_of)
    compiled, known = [], {}

    def price(deciding, lower):
        text = json.dumps(deciding, sort_keys=True)
        if text not in known:
            lowered = lower()
            compiled.append(lowered.what)
            known[text] = costs.measure(lowered.program.compile(), lowered)
        return known[text]

    candidates = sweep.Candidates([1, 4], ["none"], [1, 8])
    choices = sweep.rank(config, topology, candidates, price)
    assert len(choices) == 4 and [one.pictures for one in choices] == sorted(
        (one.pictures for one in choices), reverse=True
    )
    assert len(compiled) == 2 * 5 + 2, "two batches of five levels, two updates"
    by = {(one.per_chip, one.fsdp): one for one in choices}
    assert by[4, 8].memory < by[4, 1].memory and by[1, 8].memory < by[4, 8].memory
    assert by[4, 8].pictures > by[1, 8].pictures, "the update does not grow with the batch"
    none = sweep.rank(config, topology, sweep.Candidates([1], ["none"], [1]), price)[0]
    assert len(compiled) == 2 * 5 + 2, "nothing is compiled twice"
    assert "does NOT fit" in sweep.report([none._replace(memory=2.0**40)], topology)
