"""What an accelerator's compiler says: names of targets, the reading of HLO, reports; and the compilers themselves."""

import contextlib
import dataclasses
import functools
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
import two_devices
from failing import fails
from jax import lax

from jaxgan import config as cfg
from jaxgan.run import build, hlo, parallel, targets
from jaxgan.support import plugins
from jaxgan.support.errors import JaxganError, UserError

PROGRAM = """HloModule jit_loop, entry_computation_layout={()->()}

%add (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %sum = f32[] add(%a, %b)
}

%fused (p: f32[4,8], q: f32[8,16]) -> f32[4,16] {
  %p = f32[4,8]{1,0:T(8,128)} parameter(0)
  %q = f32[8,16]{1,0:T(8,128)} parameter(1)
  ROOT %dot.1 = f32[4,16]{1,0:T(8,128)} dot(%p, %q), lhs_contracting_dims={1}, rhs_contracting_dims={0}, \
backend_config={"estimated_cycles":"7"}
}

%rest (r: (f32[4,8])) -> (f32[4,8]) {
  ROOT %r = (f32[4,8]{1,0}) parameter(0)
}

%due (d: (f32[4,8])) -> (f32[4,8]) {
  %d = (f32[4,8]{1,0}) parameter(0)
  %element = f32[4,8]{1,0} get-tuple-element(%d), index=0
  %all-reduce-start.9 = ((f32[4,8]{1,0}), f32[4,8]{1,0}) all-reduce-start(%element), to_apply=%add
  %all-reduce-done.9 = f32[4,8]{1,0} all-reduce-done(%all-reduce-start.9)
  ROOT %tuple.9 = (f32[4,8]{1,0}) tuple(%all-reduce-done.9)
}

%inner (i: (s32[], f32[4,8])) -> (s32[], f32[4,8]) {
  %i = (s32[], f32[4,8]{1,0}) parameter(0)
  %x = f32[4,8]{1,0} get-tuple-element(%i), index=1
  %w = f32[8,16]{1,0} constant({...})
  %fusion.1 = f32[4,16]{1,0} fusion(%x, %w), kind=kOutput, calls=%fused, backend_config={"estimated_cycles":"100"}
  ROOT %t = (s32[], f32[4,8]{1,0}) tuple(%fusion.1, %x)
}

%inner_condition (c: (s32[], f32[4,8])) -> pred[] {
  %c = (s32[], f32[4,8]{1,0}) parameter(0)
  ROOT %less = pred[] constant(true)
}

%step (s: (s32[], f32[4,8])) -> (s32[], f32[4,8]) {
  %s = (s32[], f32[4,8]{1,0}) parameter(0)
  %n = s32[] get-tuple-element(%s), index=0
  %y = f32[4,8]{1,0} get-tuple-element(%s), index=1
  %z = bf16[6]{0} constant({...})
  %all-reduce-start.1 = (f32[4,8]{1,0}, /*index=1*/bf16[6]{0}) all-reduce-start(%y, /*index=1*/%z), to_apply=%add
  %all-reduce-done.1 = (f32[4,8]{1,0}, bf16[6]{0}) all-reduce-done(%all-reduce-start.1)
  %reduced = f32[4,8]{1,0} get-tuple-element(%all-reduce-done.1), index=0
  %all-gather-start.1 = (f32[4,8]{1,0}, f32[16,8]{1,0}) all-gather-start(%reduced), dimensions={0}
  %all-gather-done.1 = f32[16,8]{1,0} all-gather-done(%all-gather-start.1)
  %slice = f32[4,8]{1,0} slice(%all-gather-done.1), slice={[0:4], [0:8]}
  %first = (s32[], f32[4,8]{1,0}) tuple(%n, %slice)
  %while.1 = (s32[], f32[4,8]{1,0}) while(%first), condition=%inner_condition, body=%inner, \
backend_config={"known_trip_count":{"n":"5"}}
  %went = f32[4,8]{1,0} get-tuple-element(%while.1), index=1
  %given = (f32[4,8]{1,0}) tuple(%went)
  %lazy = (f32[4,8]{1,0}) conditional(%n, %given, %given), branch_computations={%rest, %due}, \
metadata={op_name="jit(loop)/while/body/one_step_in_4/cond"}
  %skipped = (f32[4,8]{1,0}) conditional(%n, %lazy, %lazy), branch_computations={%due, %rest}, \
metadata={op_name="jit(loop)/while/body/cond"}
  %out = f32[4,8]{1,0} get-tuple-element(%skipped), index=0
  ROOT %result = (s32[], f32[4,8]{1,0}) tuple(%n, %out)
}

%condition (o: (s32[], f32[4,8])) -> pred[] {
  %o = (s32[], f32[4,8]{1,0}) parameter(0)
  %k = s32[] get-tuple-element(%o), index=0
  ROOT %compared = pred[] compare(%k, %k), direction=LT
}

ENTRY %main (begin: (s32[], f32[4,8])) -> (s32[], f32[4,8]) {
  %begin = (s32[], f32[4,8]{1,0}) parameter(0)
  ROOT %while.2 = (s32[], f32[4,8]{1,0}) while(%begin), condition=%condition, body=%step
}
"""


def test_a_step_costs_what_its_instructions_do():
    cost = hlo.step_cost(hlo.read(PROGRAM))
    assert cost["flops", "dot"] == 5 * 2 * 4 * 8 * 16  # In a loop of five rounds.
    assert cost["cycles", "tpu"] == 5 * 100  # A fusion's own, not those of what is fused.
    # One of 128 + 12 bytes; one of 128 in a branch that is taken in one of four steps, and in one that may be always.
    assert cost["calls", "all-reduce"] == 1 + 1 / 4 + 1
    assert cost["bytes", "all-reduce"] == 128 + 12 + 128 / 4 + 128
    assert (cost["calls", "all-gather"], cost["bytes", "all-gather"]) == (1, 16 * 8 * 4)


@pytest.mark.parametrize(
    ("shape", "size"),
    [("f32[]", 4), ("(bf16[2,3]{1,0:T(8,128)(2,1)}, pred[5])", 17), ("s4[10]", 5), ("c64[2]", 16), ("token[]", 0)],
)
def test_bytes_of_shapes(shape, size):
    assert hlo.shape_bytes(shape) == size


def lowered(step, *arguments):
    """The cost of a step in a loop of so many, before optimisation."""

    def loop(count, *arguments):
        return lax.fori_loop(0, count, lambda _, carry: step(*carry), arguments)

    text = jax.jit(loop).lower(3, *arguments).as_text("hlo", debug_info=True)
    return hlo.step_cost(hlo.read(text))


@pytest.mark.parametrize(
    "options",
    [
        {"padding": "SAME"},
        {"padding": "VALID", "window_strides": (2, 3)},
        {"padding": [(2, 1), (0, 3)], "lhs_dilation": (2, 1), "rhs_dilation": (1, 2)},
        {"padding": "SAME", "feature_group_count": 2},
        {"padding": "SAME", "batch_group_count": 2},
    ],
    ids=str,
)
def test_flops_of_convolutions_are_those_that_xla_counts(options):
    x, kernel = jnp.zeros((2, 9, 8, 6)), jnp.zeros((3, 2, 6 // options.get("feature_group_count", 1), 4))
    options = {"window_strides": (1, 1), "dimension_numbers": ("NHWC", "HWIO", "NHWC"), **options}
    convolution = functools.partial(lax.conv_general_dilated, **options)
    expected = (jax.jit(convolution).lower(x, kernel).cost_analysis() or {})["flops"]

    def step(x, kernel):
        return 0 * x + jnp.sum(convolution(x, kernel)), kernel

    assert lowered(step, x, kernel)["flops", "convolution"] == expected


def test_flops_of_products_and_inner_loops_and_what_is_not_needed():
    def step(x):
        _ = jnp.sin(x) @ x  # Nobody asks for it.
        return (lax.scan(lambda x, _: (x @ x, None), x, None, length=6)[0],)

    assert lowered(step, jnp.zeros((5, 5)))["flops", "dot"] == 6 * 2 * 5**3


@pytest.mark.parametrize(
    ("target", "operands", "result"),
    [
        ("Forward", ("f32[8,8,8,3]", "f32[16,3,3,3]"), "f32[8,8,8,16]"),
        ("BackwardInput", ("f32[8,8,8,16]", "f32[16,3,3,3]"), "f32[8,8,8,3]"),
        ("BackwardFilter", ("f32[8,8,8,3]", "f32[8,8,8,16]"), "f32[16,3,3,3]"),
    ],
)
def test_flops_of_cudnn(target, operands, result):
    line = (
        f"  ROOT %c = ({result}, u8[0]) custom-call(%x, %y), window={{size=3x3 pad=1_1x1_1}}, "
        f'dim_labels=b01f_o01i->b01f, custom_call_target="__cudnn$conv{target}"'
    )
    around = {n: hlo.Instruction(n, shape, "parameter", (), "") for n, shape in zip("xy", operands, strict=True)}
    instruction = hlo.read("%a (b: f32[]) -> f32[] {\n" + line + "\n}").computations["a"].instructions["c"]
    taps = 3 * 8 - 2  # Along an axis; two of them meet the padding.
    assert hlo._flops(instruction, around) == 2 * 8 * taps**2 * 3 * 16


def test_flops_of_cublas():
    text = (
        "%a (b: f32[]) -> f32[] {\n  %x = f32[7,5] parameter(0)\n  %y = f32[7,6] parameter(1)\n"
        '  ROOT %g = (f32[5,6], s8[99]) custom-call(%x, %y), custom_call_target="__cublas$gemm", '
        'backend_config={"dot_dimension_numbers":{"lhs_contracting_dimensions":["0"]}}\n}'
    )
    instructions = hlo.read(text).computations["a"].instructions
    assert hlo._flops(instructions["g"], instructions) == 2 * 5 * 6 * 7


def step_flops(**changes):
    """Of a step of mnist_fc, on average, as lowered."""
    config = dataclasses.replace(cfg.load("mnist_fc")[1], batch_size=8, **changes)
    source = build.source(config)
    plan = build.experiment(config, source.shape, source.classes)
    low, sizes = targets._lowered(plan, 0, source, parallel.place(devices=jax.devices()[:1]))
    state = jax.tree.leaves(plan.abstract_state(plan.stages[0], parallel.place(devices=jax.devices()[:1])))
    assert sizes["state"] == sum(leaf.size * leaf.dtype.itemsize for leaf in state)
    return hlo.step_cost(hlo.read(low.as_text("hlo", debug_info=True)))["flops", "dot"]


def test_lazy_penalties_count_by_how_often_they_are_due():
    never, always, lazy = step_flops(), step_flops(r1=1.0), step_flops(r1=1.0, penalty_every=16)
    assert always > 1.2 * never
    assert lazy == pytest.approx(15 / 16 * never + 1 / 16 * always)


def test_names_of_targets():
    v4 = targets.parse("v4:2x2x4")
    assert (v4.count, v4.shape, v4.chip.label, v4.chip.is_tpu) == (16, (2, 2, 4), "TPU v4", True)
    h100 = targets.parse("h100:8")
    assert (h100.count, h100.chip.is_tpu) == (8, False)


@pytest.mark.parametrize(
    "name", ["", "v5e", "v5e:4", "v5e:4x4x4", "v4:4x4", "v5e:0x4", "v9:4x4", "h100:16", "h100:x", "4x4"]
)
def test_other_names_are_refused(name):
    with pytest.raises(UserError, match=r"not known; take v5e:4x4 .* a100:8") as caught:
        targets.parse(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--target", "v5e:4x4"], "give --dry-run with it"),
        (["--dry-run", "--target", "tpu"], "--target tpu: not known"),
        (["--dry-run", "--target", "h100:8", "--parallel", "pmap"], "for --parallel jit or shard_map, not pmap"),
    ],
)
def test_mistakes_are_one_line(arguments, said, capsys):
    assert said in fails(["train", "mnist_fc", *arguments], capsys)


@pytest.mark.parametrize(("name", "package"), [("v5e:4x4", "libtpu"), ("h100:8", "jax-cuda12-plugin")])
def test_a_missing_compiler_is_named(name, package, monkeypatch, capsys):
    monkeypatch.setattr(targets, "_is_there", lambda module: False)
    error = fails(["train", "mnist_fc", "--dry-run", "--target", name], capsys)
    assert f"the package {package}," in error
    assert "pip install 'jaxgan[targets]'" in error


@pytest.mark.parametrize(
    ("platforms", "nvidia", "tpu", "left"),
    [
        (None, False, False, {"cuda", "tpu"}),
        (None, True, False, {"tpu"}),
        (None, False, True, {"cuda"}),
        ("cpu", False, False, {"cuda", "tpu"}),
        ("cuda,cpu", False, False, {"tpu"}),
        ("tpu", False, False, {"cuda"}),
    ],
)
def test_plugins_without_their_hardware_are_left_out(platforms, nvidia, tpu, left, monkeypatch):
    modules = {"cuda": plugins.CUDA, "tpu": plugins.TPU}
    for name in (*plugins.CUDA, *plugins.TPU):
        monkeypatch.setitem(sys.modules, name, None)  # To be restored.
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    if platforms:
        monkeypatch.setenv("JAX_PLATFORMS", platforms)
    monkeypatch.setattr(plugins, "_has_nvidia", lambda: nvidia)
    monkeypatch.setattr(plugins, "_has_tpu", lambda: tpu)
    plugins.leave_out_absent()
    assert {kind for kind, names in modules.items() if names[0] in sys.modules} == left
    for name in {"jax_plugins.xla_cuda12", "libtpu"} & sys.modules.keys():
        module = sys.modules[name]
        assert module is None or module.initialize() is None
    for names in modules.values():
        plugins.let_in(names)
    assert not {*plugins.CUDA, *plugins.TPU} & sys.modules.keys()


def report(**changes):
    cost = hlo.Cost({("flops", "convolution"): 197e9, ("flops", "dot"): 3e9})
    cost.update({("calls", "all-reduce"): 2.5, ("bytes", "all-reduce"): 16e6, ("cycles", "tpu"): 3_000_000})
    values = {
        "target": targets.parse("v5e:4x4"),
        "kind": "jit",
        "stage": "",
        "examples": 4.0,
        "state": 100 * 2**20,
        "data": 2**20,
        "batch": 2**19,
        "temporaries": 200 * 2**20,
        "peak": 300 * 2**20,
        "room": 16 * 2**30,
        "whole": {"convolution": 16 * 197e9, "dot": 24e9},
        "cost": cost,
        "seconds": (2.0, 40.0),
    }
    return targets.Report(**values | changes)


def test_a_report_by_hand():
    found = report()
    assert found.repeated == {"convolution": 1, "dot": 2}
    assert found.traffic == 2 * 300 * 2**20 + 2**19
    assert found.estimate == pytest.approx(2e-3)  # At 1.5 GHz.
    assert found.least["flops"] == pytest.approx(200e9 / 197e12)
    assert found.least["traffic"] == pytest.approx(found.traffic / 819e9)
    assert found.least["collectives"] == pytest.approx(2 * 16e6 * 15 / 16 / 200e9)
    shown = targets.text(found)
    for line in (
        "v5e:4x4, jit: 16 x TPU v5e, 4 examples each",
        "fits: 300 MiB of 16,384 MiB at the peak (100 MiB of state, 1 MiB of data, 200 MiB of temporaries)",
        "197 GFLOP of convolutions and 3 GFLOP of matrix products: at least 1.02 ms",
        "the compiler's own: 2 ms, collectives left out",
        "2.5 all-reduce of 0.016 GB in all: at least 0.15 ms",
        "all devices together compute 1.00 of its convolutions and 2.00 of its matrix products",
    ):
        assert line in shown


def test_a_report_of_what_does_not_fit():
    found = report(cost=None, peak=33 * 2**30, room=15.75 * 2**30)
    assert "does not fit, by 17,664 MiB: 33,792 MiB of 16,128 MiB" in targets.text(found)
    assert found.flops == {"convolution": 197e9, "dot": 1.5e9}  # Its share of the whole batch's.
    assert found.estimate is None
    assert "collectives" not in targets.text(found)


def test_a_refusal_is_read():
    said = "Ran out of memory on HBM, the total memory required for HLO temporaries (32.76G) exceeds available HBM "
    assert targets._refused(f"RESOURCE_EXHAUSTED: {said}(15.75G).") == (32.76 * 2**30, 15.75 * 2**30)
    with pytest.raises(JaxganError, match=r"the compiler failed: INTERNAL: something$"):
        targets._refused("INTERNAL: something\nelse")


def test_a_report_of_gpus():
    target = targets.parse("h100:8")
    room = target.chip.memory
    shown = targets.text(report(target=target, peak=0.8 * room, room=room))
    assert "fits: 64,806 MiB or more of 81,008 MiB" in shown
    assert "XLA_PYTHON_CLIENT_MEM_FRACTION" in shown
    assert "the compiler's own: gives none" in shown
    assert "MEM_FRACTION" not in targets.text(report(target=target, peak=0.7 * room, room=room))


@pytest.mark.parametrize(("vary", "conditional"), [(("flip",), False), (("crop",), True)])
def test_stand_ins_are_like_what_streams(vary, conditional):
    changes = {"size": 32, "batch_size": 8, "vary_real": vary, "conditional": conditional}
    config = dataclasses.replace(cfg.load("own_images")[1], **changes)
    source = build.stand_in(config)
    assert source.shape == (32, 32, 3)
    batch = jax.eval_shape(source.batch, source.resident, source[0])
    assert batch["image"].shape == (8, 32, 32, 3)
    assert ("label" in batch) == conditional
    inner = source[0]["item"]["image"]
    assert (inner.shape, inner.dtype) == ((8, *((36, 36, 3) if "crop" in vary else (32, 32, 3))), "uint8")


def installed(*modules):
    with contextlib.suppress(ModuleNotFoundError):
        return any(importlib.util.find_spec(module) for module in modules)
    return False


TPU = pytest.mark.skipif(not installed(*plugins.TPU), reason="libtpu is missing: pip install 'jaxgan[targets]'")
CUDA = pytest.mark.skipif(not installed(*plugins.CUDA[:2]), reason="its compiler is missing: 'jaxgan[targets]'")


def in_a_process(*arguments):
    """Runs Python; in a process of its own, since what has used its devices cannot compile for others."""
    environment = {n: value for n, value in os.environ.items() if not n.startswith(("JAX_PLATFORMS", "TPU_"))}
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert all(line.startswith(("tracing", "compiling")) for line in done.stderr.splitlines()), done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("name", "label", "own"),
    [
        pytest.param("v5e:2x2", "TPU v5e", "ms, collectives left out", marks=TPU),
        pytest.param("h100:4", "H100 SXM", "gives none", marks=CUDA),
    ],
)
@pytest.mark.parametrize("parallel", ["jit", "shard_map"])
def test_compilers_tell(name, label, own, parallel):
    options = ["--batch-size", "128", "--parallel", parallel]
    shown = in_a_process("-m", "jaxgan", "train", "ring", "--dry-run", "--target", name, *options)
    assert f"{name}, {parallel}: 4 x {label}, 32 examples each" in shown
    assert "fits" in shown
    assert own in shown
    assert re.search(r"[2-9] all-reduce of \d", shown)
    (times,) = re.findall(r"([\d.]+) of its matrix products", shown)
    assert 0.97 < float(times) < 1.02


@TPU
def test_what_a_tpu_has_no_room_for_is_told():
    shown = in_a_process("-m", "jaxgan", "train", "ring", "--dry-run", "--target", "v5e:1x1", "--batch-size", "8000000")
    assert re.search(r"does not fit, by [\d,]+ MiB", shown)


@pytest.mark.parametrize("other", [pytest.param("gpu", marks=CUDA), pytest.param("tpu", marks=TPU)])
def test_without_the_hardware_the_host_is_a_cpu_and_nothing_complains(other):
    code = "from jaxgan.support import plugins; plugins.leave_out_absent(); import jax; print(jax.devices())"
    if plugins._has_nvidia() or plugins._has_tpu():
        pytest.skip("the hardware is here")
    assert in_a_process("-W", "error", "-c", code) == "[CpuDevice(id=0)]\n"


GROUPED = """
import dataclasses, json
from jaxgan.support import plugins
plugins.leave_out_absent()
from jaxgan import config as cfg
from jaxgan.run import targets
config = cfg.load("r3gan_32")[1]
player = {"width": 32, "max_width": 64, "group_width": 16}
config = dataclasses.replace(
    config, size=8, vary_real=(), augment=(),
    generator=dataclasses.replace(config.generator, **player),
    discriminator=dataclasses.replace(config.discriminator, **player),
)
for name, batch_size in (("h100:8", 32), ("h100:1", 4)):
    changed = dataclasses.replace(config, batch_size=batch_size)
    (report,) = targets.reports(changed, targets.parse(name))
    print(json.dumps({"flops": report.flops, "collectives": report.collectives}))
"""


@CUDA
def test_grouped_convolutions_are_split_over_gpus():
    several, one = map(json.loads, in_a_process("-c", GROUPED).splitlines())
    for kind, flops in one["flops"].items():
        assert several["flops"][kind] == pytest.approx(flops, rel=0.01)
    assert several["collectives"].keys() == {"all-reduce"}


HALF = """
import dataclasses, sys
sys.path.insert(0, sys.argv[1])
from jaxgan.support import plugins
plugins.leave_out_absent()
import two_devices
from jaxgan import config as cfg
from jaxgan.run import build, hlo, parallel, targets
placement = parallel.place("jit", 1, targets.devices(targets.parse("h100:2")))
families = two_devices.FAMILIES | {"dcgan": cfg.Config(), "mlp": cfg.Config(
    generator=cfg.MLPGenerator(), discriminator=cfg.MLPDiscriminator())}
for name, config in families.items():
    config = dataclasses.replace(two_devices.prepared(config), data="", size=8, precision="bfloat16")
    if name == "gat":  # Of 16 to 64 features XLA's CUDA compiler finds no tiles for products in float32.
        wide = {"width": 256, "heads": 4, "depth": 2}
        players = (dataclasses.replace(player, **wide) for player in (config.generator, config.discriminator))
        config = dataclasses.replace(config, **dict(zip(("generator", "discriminator"), players)), size=16)
    source = build.stand_in(config)
    plan = build.experiment(config, source.shape, source.classes)
    program = hlo.read(targets._lowered(plan, len(plan.stages) - 1, source, placement)[0].compile().as_text())
    lines = [line for part in program.computations.values() for line in part.instructions.values()]
    sums = [line.shape for line in lines if line.opcode.startswith("all-reduce")]
    print(name, len(sums), sum("bf16" in shape for shape in sums))
"""


@CUDA
def test_gradients_of_bfloat16_are_summed_over_gpus_in_float32():
    lines = [line.split() for line in in_a_process("-c", HALF, str(Path(__file__).parent)).splitlines()]
    assert {name for name, *_ in lines} == {*two_devices.FAMILIES, "dcgan", "mlp"}
    for name, sums, narrow in lines:
        assert int(sums) > 0, name
        assert int(narrow) == 0, name
