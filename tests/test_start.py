"""Runs that begin with others' networks: fine-tuning, FreezeD, published networks with their discriminator."""

import dataclasses
import functools
import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from failing import fails

from jaxgan import cli
from jaxgan import config as cfg
from jaxgan.models import dcgan, freezing, mlp, msg, stylegan2
from jaxgan.run import build, directory, networks, start, training
from jaxgan.support.errors import UserError

RECORDED = np.load(Path(__file__).with_name("data") / "stylegan2.npz")
SMALL = cfg.Config(
    generator=cfg.MLPGenerator(widths=(16, 8)),
    discriminator=cfg.MLPDiscriminator(widths=(16, 8)),
    latent_size=8,
    batch_size=16,
    steps=20,
    log_every=1,
    sample_every=10,
    checkpoint_every=10,
)


def changed(run, **fields):
    return dataclasses.replace(SMALL, start=str(run), seed=1, **fields)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    run = tmp_path_factory.mktemp("start") / "source"
    training.train(SMALL, run, quiet=True)
    return run


def same(a, b):
    assert networks.digest(jax.device_get(a)) == networks.digest(jax.device_get(b))


def test_a_run_begins_with_anothers_networks_and_never_needs_them_again(source, tmp_path, capsys):
    gone = Path(shutil.copytree(source, tmp_path / "gone"))
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    old = directory.read(source).state
    training.train(changed(gone, steps=20), unbroken, quiet=True)
    training.train(changed(gone, steps=10), broken, quiet=True)
    shutil.rmtree(gone)
    cli.main(["train", str(broken), "--steps", "20", "--quiet"])
    same(directory.read(broken).state, directory.read(unbroken).state)
    assert (broken / "metrics.jsonl").read_text() == (unbroken / "metrics.jsonl").read_text()
    # What it began with is written down, and was the source's, its average and its discriminator too.
    origin = json.loads((unbroken / "origin.json").read_text())
    assert origin == {"path": str(gone), "step": 20, "sha256": start.read(source).sha256, "new": ""}
    assert start.recorded(source) is None
    capsys.readouterr()
    cli.main(["show", str(broken)])
    assert f"began with {gone}, step 20, sha256 {origin['sha256']}" in capsys.readouterr().out
    (tmp_path / "first").mkdir()
    plan = build.experiment(changed(source), (28, 28, 1), 0)
    state, said = start.begin(tmp_path / "first", plan, training.parallel.place())
    assert said == f"begins with {source} at step 20; every layer fits"
    for player in ("generator", "discriminator"):
        same(getattr(state, player).variables, getattr(old, player).variables)
        count = jax.tree.leaves(getattr(state, player).optimizer)[0]
        assert int(count) == 0
    same(state.ema, old.ema)
    assert networks.digest(state.ema) != networks.digest(state.generator.variables)


def test_a_run_whose_checkpoints_are_lost_begins_again_with_the_same_networks_only(source, tmp_path):
    run = tmp_path / "run"
    training.train(changed(source, steps=1), run, quiet=True)
    before = directory.read(run).state
    shutil.rmtree(run / "checkpoints")
    training.train(changed(source, steps=1), run, quiet=True)
    same(directory.read(run).state, before)
    shutil.rmtree(run / "checkpoints")
    origin = json.loads((run / "origin.json").read_text())
    (run / "origin.json").write_text(json.dumps(origin | {"sha256": "0"}))
    with pytest.raises(UserError, match=r"run: has no checkpoint, and began with other networks than .*source has now"):
        training.train(changed(source, steps=1), run, quiet=True)


def test_a_file_of_networks_is_as_good_as_the_run(source, tmp_path):
    file = tmp_path / "networks.safetensors"
    trained = directory.read(source)
    networks.save(file, networks.of_state("", trained.state, trained.about))
    found, of_run = start.read(file), start.read(source)
    assert (found.step, found.sha256) == (20, of_run.sha256)
    assert set(found.arrays) == {"generator", "discriminator", "ema"}
    name = "params/Dense_0/kernel"
    np.testing.assert_array_equal(found.arrays["ema"][name], of_run.arrays["ema"][name])
    read = directory.read(file)
    assert (read.config, read.shape, read.classes) == (trained.config, trained.shape, trained.classes)
    assert networks.digest(read.state.ema) == networks.digest(trained.state.ema)
    same(read.state.discriminator.variables, trained.state.discriminator.variables)
    assert int(read.state.step) == 20


def test_layers_that_do_not_fit_are_new_and_named():
    def initial(size, width):
        config = cfg.Config(
            generator=cfg.StyleGAN2Generator(width=width, max_width=8, style_size=8, mapping_layers=1),
            discriminator=cfg.StyleGAN2Discriminator(width=width, max_width=8),
        )
        plan = build.experiment(config, (size, size, 3), 0)
        return jax.eval_shape(lambda: plan.init(plan.stages[0], 0))

    def filled(shapes, value):
        return jax.tree.map(lambda leaf: jnp.full(leaf.shape, value, leaf.dtype), shapes)

    small, large = filled(initial(8, 4), 1), filled(initial(16, 2), 2)
    state, new = networks.transplant(networks.of_state("small", small), large)
    assert new == (
        "the generator has new synthesizer.conv16_0, synthesizer.conv16_1, synthesizer.picture16; "
        "the discriminator has new conv16_0, conv16_1, first, skip16"
    )
    synthesizer = state.generator.params["synthesizer"]
    taken = {name: float(jax.tree.leaves(layer)[0].max()) for name, layer in synthesizer.items()}
    assert taken == {
        **dict.fromkeys(["const", "conv4_1", "conv8_0", "conv8_1", "picture4", "picture8"], 1.0),
        **dict.fromkeys(["conv16_0", "conv16_1", "picture16"], 2.0),
    }
    assert float(state.discriminator.params["conv8_0"]["kernel"].max()) == 1
    assert float(state.ema["params"]["mapper"]["dense0"]["kernel"].max()) == 1
    # Nothing but vectors in common is nothing in common.
    with pytest.raises(UserError, match="small: no layer of its generator fits"):
        networks.transplant(dataclasses.replace(networks.of_state("small", small)), filled(dcgan_state(), 2))


def dcgan_state():
    config = cfg.Config(generator=cfg.DCGANGenerator(width=2), discriminator=cfg.DCGANDiscriminator(width=2))
    plan = build.experiment(config, (8, 8, 3), 0)
    return jax.eval_shape(lambda: plan.init(plan.stages[0], 0))


@pytest.mark.parametrize(
    ("module", "image", "held"),
    [
        (dcgan.Discriminator(2), (4, 16, 16, 3), {"Conv_0", "Conv_1", "BatchNorm_0"}),
        (dcgan.Discriminator(2, norm="spectral"), (4, 16, 16, 3), {"Conv_0", "Conv_1"}),
        (stylegan2.Discriminator(2), (4, 16, 16, 3), {"first", "conv16_0"}),
        (mlp.Discriminator((4, 4, 4)), (4, 6), {"Dense_0", "Dense_1"}),
        (msg.Discriminator(2), [(4, 8, 8, 3), (4, 16, 16, 3)], {"picture16", "block16.Conv_0"}),
    ],
)
def test_layers_are_counted_as_the_picture_meets_them(module, image, held):
    image = jax.tree.map(
        lambda shape: jax.ShapeDtypeStruct(shape, jnp.float32), image, is_leaf=lambda x: isinstance(x, tuple)
    )
    found: set[str] = set()

    class Probe:
        def init(self, rngs, *args):
            return module.init(rngs, *args)

        def apply(self, variables, *args, **keywords):
            return variables["params"]

    variables = jax.eval_shape(module.init, jax.random.key(0), image)

    def total(params, image):
        kept = freezing.Frozen(Probe(), 2).apply({**variables, "params": params}, image)
        return sum(jnp.sum(leaf) for leaf in jax.tree.leaves(kept))

    ones = jax.tree.map(lambda leaf: jnp.ones(leaf.shape, leaf.dtype), variables["params"])
    gradient = jax.grad(total)(ones, image)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        if not leaf.any():
            found.add(".".join(part.key for part in path[:-1]))
    assert found == held


def test_the_first_layers_do_not_learn_and_all_else_is_as_it_was(key):
    module = dcgan.Discriminator(2, norm="spectral")
    x = jax.random.normal(key, (4, 16, 16, 3))
    variables = module.init(key, x)

    @functools.partial(jax.jit, static_argnums=0)
    def logits(network, params, x):
        def apply(params, x):
            logits, stats = network.apply({**variables, "params": params}, x, rngs=key, mutable=["batch_stats"])
            return jnp.sum(logits**2), stats

        return jax.value_and_grad(apply, (0, 1), has_aux=True)(params, x)

    free, held = (logits(network, variables["params"], x) for network in (module, freezing.Frozen(module, 2)))
    jax.tree.map(np.testing.assert_array_equal, held[0], free[0])
    np.testing.assert_array_equal(held[1][1], free[1][1])
    for name, gradient in free[1][0].items():
        assert all(float(jnp.abs(leaf).max()) > 0 for leaf in jax.tree.leaves(gradient))
        wanted = jax.tree.map(jnp.zeros_like, gradient) if name in ("Conv_0", "Conv_1") else gradient
        jax.tree.map(np.testing.assert_array_equal, held[1][0][name], wanted)


def test_frozen_layers_stay_bit_for_bit_while_the_others_train(source, tmp_path):
    judge = dataclasses.replace(SMALL.discriminator, freeze=1)
    training.train(changed(source, steps=3, discriminator=judge), tmp_path / "run", quiet=True)
    before, after = (directory.read(run).state.discriminator.params for run in (source, tmp_path / "run"))
    same(after["Dense_0"], before["Dense_0"])
    assert np.abs(np.asarray(after["Dense_1"]["kernel"]) - np.asarray(before["Dense_1"]["kernel"])).max() > 0


def test_a_dry_run_tells_what_fits(source, capsys):
    players = [f"--{player}.widths={width}" for player, width in (("generator", 16), ("discriminator", 16))]
    cli.main(["train", "mnist_fc", f"--from={source}", "--latent-size=8", *players, "--dry-run"])
    assert f"begins with {source} at step 20; the generator has new Dense_1" in capsys.readouterr().out
    assert "no layer of its generator fits" in fails(["train", "mnist_fc", f"--from={source}", "--dry-run"], capsys)


def test_mistakes_are_one_line(source, tmp_path, capsys):
    small = ["--generator.widths", "16", "8", "--discriminator.widths", "16", "8", "--latent-size", "8", "--quiet"]
    for arguments, message in [
        (["train", "mnist_fc", "--from", tmp_path / "none", "--out", tmp_path / "a"], "none: no such run or file of"),
        (["train", "mnist_fc", "--from", source, "--out", tmp_path / "a"], "no layer of its generator fits this one's"),
        (
            ["train", "mnist_fc", "--discriminator.freeze", "1"],
            "discriminator.freeze: holds what has been learned; give",
        ),
        (["train", source, "--from", source], "made by another config: start (, now "),
        (["train", "progressive_32", "--from", source], "grow: does not go with --from"),
        (["sweep", "mnist_fc", "--from", source, "--out", tmp_path / "s"], "--from: a sweep begins with new networks"),
        (
            ["train", "mnist_fc", *small, "--from", source, "--discriminator.freeze", "3", "--out", tmp_path / "b"],
            "discriminator.freeze: 3 of its 3 layers leaves none to learn; take fewer",
        ),
    ]:
        with pytest.raises(SystemExit) as end:
            cli.main([str(argument) for argument in arguments])
        error = capsys.readouterr().err
        assert end.value.code == 2
        assert message in error
        assert error.count("\n") == 1, error


def test_a_published_discriminator_is_taken_with_its_generator(tmp_path, capsys):
    names = [name for name in RECORDED.files if name.startswith(("G/", "D/"))]
    arrays = {name.replace("G/", "G_ema.").replace("D/", "D."): RECORDED[name] for name in names}
    np.savez(tmp_path / "both.npz", **arrays)
    cli.main(["import", str(tmp_path / "both.npz"), "--out", str(tmp_path / "both")])
    assert "Its discriminator is the file's" in capsys.readouterr().out
    trained = directory.read(tmp_path / "both")
    image = jnp.asarray(RECORDED["judged/image"].transpose(0, 2, 3, 1))
    logits = trained.game.discriminator.apply(trained.state.discriminator.variables, image, rngs=None, mutable=[])[0]
    np.testing.assert_allclose(logits, RECORDED["judged/logits"], rtol=1e-3, atol=1e-3)
    origin = start.recorded(tmp_path / "both") or {}
    assert (origin["path"], origin["step"]) == (str(tmp_path / "both.npz"), None)
    # One that is not whole is new, and said to be.
    del arrays["D.b4.out.weight"]
    np.savez(tmp_path / "cut.npz", **arrays)
    cli.main(["import", str(tmp_path / "cut.npz"), "--out", str(tmp_path / "cut")])
    assert "Its discriminator is new (the file's has no b4.out.weight)" in capsys.readouterr().out
