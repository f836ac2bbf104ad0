import ast
import dataclasses
import json
import re
import typing

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxgan import config as cfg
from jaxgan.run import build
from jaxgan.support.errors import UserError

positive = st.integers(1, 10**6)
rate = st.floats(0, 0.999)
adam = {"learning_rate": st.floats(1e-6, 1), "beta1": rate, "beta2": rate}
configs = st.builds(
    cfg.Config,
    generator=st.one_of(
        st.builds(cfg.MLPGenerator, **adam, widths=st.lists(positive).map(tuple)),
        st.builds(cfg.DCGANGenerator, **adam, width=positive, upsampling=st.sampled_from(["transposed", "nearest"])),
    ),
    discriminator=st.one_of(
        st.builds(cfg.MLPDiscriminator, **adam), st.builds(cfg.DCGANDiscriminator, **adam, features=positive)
    ),
    conditional=st.booleans(),
    ema_decay=rate,
    steps=positive,
    keep_every=st.none() | positive,
)


@given(configs)
def test_json_rebuilds_the_config(config):
    assert cfg.from_json(cfg.to_json(config), "here") == config
    assert cfg.validate(config, "here") == config


def broken(**changes):
    tree = json.loads(cfg.to_json(cfg.Config()))
    for path, value in changes.items():
        *parents, last = path.split("__")
        node = tree
        for parent in parents:
            node = node[parent]
        node[last] = value
    return json.dumps(tree)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (broken(generator__widht=3), r"^run/config.json: generator.widht: no such field; did you mean width\?"),
        (broken(stepz=3), r"^run/config.json: stepz: no such field; did you mean steps\?"),
        (broken(generator__width=-3), r"generator.width: input should be greater than 0 \(it is -3\)"),
        (broken(batch_size="many"), r"batch_size: .* integer.* \(it is 'many'\)"),
        (broken(ema_decay=1.0), r"ema_decay: input should be less than 1 \(it is 1.0\)"),
        (broken(generator={"kind": "gpt"}), r"generator: .*'gpt'.*'mlp', 'dcgan'"),
        (broken(patience=3), "patience: needs to know what is better; set best"),
        (broken(best="modes/kl"), "best: mnist has no modes to count; take diversity/coverage"),
        (broken(size=32), r"vary_real, size: mnist has pictures of one size"),
        ("{", r"^run/config.json: not a config: invalid JSON"),
        ("[]", r"^run/config.json: not a config"),
    ],
)
def test_a_bad_config_is_one_line_that_names_file_field_and_value(text, message):
    with pytest.raises(UserError, match=message) as caught:
        cfg.from_json(text, "run/config.json")
    assert "\n" not in str(caught.value)


def test_differences_name_what_changed_and_forgive_how_long():
    old = cfg.Config()
    new = dataclasses.replace(old, steps=9, sample_every=1, generator=cfg.DCGANGenerator(width=32), seed=1)
    assert cfg.differences(old, new) == ["generator.width (64, now 32)", "seed (0, now 1)"]
    assert cfg.differences(old, dataclasses.replace(old, steps=9, keep_every=3)) == []
    other = dataclasses.replace(old, generator=cfg.MLPGenerator())
    assert "generator.kind (dcgan, now mlp)" in cfg.differences(old, other)


@pytest.mark.parametrize("name", cfg.names())
def test_shipped_configs_load_and_say_how_to_run_them(name):
    loaded, config = cfg.load(name)
    assert loaded == name
    assert cfg.names()[name].endswith(".")
    assert f"jaxgan train {name}" in (cfg.folder() / f"{name}.py").read_text()
    if not config.data:
        with pytest.raises(UserError, match="say which pictures: --data FOLDER"):
            build.source(config)
        return
    source = build.source(config)
    assert build.game(config, source.shape, source.classes).latent_size == config.latent_size


@pytest.mark.parametrize(
    "name", ["biggan_128", "msg_1024", "progressive_1024", "r3gan_256", "stylegan2_1024", "stylegan2_256"]
)
def test_published_configs_name_every_setting_beside_the_authors(name):
    """All fields that are not the defaults, but those of how a run is watched and where its pictures are."""
    config, text = cfg.load(name)[1], ast.get_docstring(ast.parse((cfg.folder() / f"{name}.py").read_text())) or ""
    about = (config, cfg.Config()), *((player, type(player)()) for player in (config.generator, config.discriminator))
    set_here = {
        field.name
        for one, default in about
        for field in dataclasses.fields(one)
        if getattr(one, field.name) != getattr(default, field.name)
    }
    free = (cfg.FREE - {"steps"}) | {"size", "generator", "discriminator"}
    missing = {field for field in set_here - free if not re.search(rf"\b{field}\b", text)}
    assert not missing
    assert "theirs" in text


def test_unknown_data_are_refused_with_what_there_is():
    with pytest.raises(UserError, match=r"^data: mnits: no such folder.*; did you mean mnist\?"):
        build.source(cfg.Config(data="mnits"))


def test_loading_from_a_file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("from jaxgan.config import Config\nconfig = Config(steps=7)\n")
    assert cfg.load(str(path)) == ("mine", cfg.Config(steps=7))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("config = 3", "must assign a jaxgan.config.Config"),
        ("from jaxgan.config import Config\nconfig = Config(stepz=3)", "mine.py: TypeError: .*stepz"),
        ("from jaxgan.config import Config\nconfig = Config(steps=0)", "mine.py: steps: .*greater than 0"),
        ("def", "mine.py: SyntaxError"),
    ],
)
def test_a_bad_file(text, message, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        cfg.load(str(path))


def test_a_missing_config_suggests_the_nearest():
    with pytest.raises(UserError, match=r"mnist_dgan: no such config or run; did you mean mnist_dcgan\?"):
        cfg.load("mnist_dgan")
    with pytest.raises(UserError, match=r"nowhere.py: no such config or run"):
        cfg.load("nowhere.py")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"smooth_real": 0.1, "loss": "hinge"}, "smooth_real: the loss hinge has no targets"),
        ({"smooth_fake": 0.1, "loss": "hinge"}, "smooth_fake: the loss hinge has no targets"),
        ({"data": "ring"}, "convolutional networks need images"),
        (
            {"data": "", "latents": True, "vary_real": ("flip", "colour")},
            "vary_real: colours are of pictures, and these are latents",
        ),
        ({"data": "stacked_mnist", "conditional": True}, "conditional: stacked_mnist has no labels"),
        ({"pack": 2, "conditional": True}, "pack: does not go with conditional"),
        ({"pack": 3}, "batch_size: 128 is not a multiple of pack x discriminator.minibatch_stddev, 3"),
        ({"ada_target": 0.6}, "ada_target: names no augmentation"),
    ],
)
def test_fields_that_contradict_one_another_are_refused(fields, words):
    with pytest.raises(UserError, match=re.escape(words)):
        cfg.validate(dataclasses.replace(cfg.Config(), **fields), "command line")


def test_points_are_not_augmented():
    config = dataclasses.replace(cfg.load("ring")[1], augment=("flip",))
    with pytest.raises(UserError, match="augment, consistency: need images"):
        cfg.validate(config, "command line")


def test_every_loss_of_a_config_builds():
    for loss in typing.get_args(cfg.Config.__dataclass_fields__["loss"].type):
        game = build.game(dataclasses.replace(cfg.Config(), loss=loss), (28, 28, 1), 0)
        assert np.isfinite(game.loss.discriminator(jnp.ones(2), -jnp.ones(2)))


def test_fields_are_looked_at_together_in_whatever_order_they_come():
    progressive = cfg.load("progressive_32")[1]
    sooner = {"fade_steps": 300, "grow": (300, 600, 900)}  # These steps alone do not go with the fading of the config.
    assert cfg.replaced(progressive, sooner) == cfg.replaced(progressive, dict(reversed(sooner.items())))
    with pytest.raises(UserError, match=r"^grow: grow, fade_steps: steps must rise"):
        cfg.replaced(progressive, {"grow": (300, 600, 900)})
    with pytest.raises(UserError, match=r"^steps, loss: loss: .*'hinges'"):
        cfg.replaced(progressive, {"steps": 2, "loss": "hinges"})
