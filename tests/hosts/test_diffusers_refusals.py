"""What the diffusers host refuses: layouts, images, branches, steps and settings that do not fit the run."""

from __future__ import annotations

import pytest
from diffusers import UNet2DConditionModel
from diffusers_run import (  # noqa: F401
    LAYOUT,
    TIMES,
    Run,
    one_thread,
    recorded,
    recording_of,
    traces,
    unet_fixture,
)
from planted import LAYERS, MIDDLE, tiny_unet
from torch import nn

from i2am.errors import LayoutError, RecordingError
from i2am.geometry.layout import Layout, TokenGrid
from i2am.hosts.diffusers.record import record


def test_a_wrong_number_of_keys_is_refused_with_the_layer_and_both_numbers(unet: UNet2DConditionModel) -> None:
    before = traces(unet)
    with pytest.raises(LayoutError) as caught:
        recorded(unet, Run(), layout=Layout.of(TokenGrid(5, 4, 1)))
    text = str(caught.value)
    for part in (repr(LAYERS[0]), "26 keys", "expects 21", "5 x 4 + 1", "leading"):
        assert part in text
    assert traces(unet) == before
    layout = dict.fromkeys(LAYERS, LAYOUT) | {MIDDLE: Layout.of(TokenGrid(5, 5, 2))}
    with pytest.raises(LayoutError, match=f"'{MIDDLE}' was called with 26 keys, but the layout expects 27"):
        recorded(unet, Run(), layout=layout.__getitem__)
    assert traces(unet) == before


def test_a_layout_for_each_layer(unet: UNet2DConditionModel) -> None:
    other = Layout.of(TokenGrid(6, 4, 2))
    _, maps = recorded(unet, Run(), layout=lambda name: other if name == MIDDLE else LAYOUT)
    assert maps.pairwise(MIDDLE).shape[-2:] == (30, 26)
    assert maps.pairwise(LAYERS[0]).shape[-2:] == (120, 13)
    assert maps.layer(MIDDLE).references == other.references


@pytest.mark.parametrize(
    ("images", "branches", "run", "text"),
    [
        (3, ("uncond", "cond"), Run(), "2 rows, expected 6 .3 images x branches uncond, cond. or 3"),
        (1, ("cond",), Run(), "2 rows, expected 1 "),
        (2, ("cond",), Run("none", 1), "1 rows, expected 2"),
        (2, ("uncond", "cond"), Run("none", 1), "1 rows, expected 4"),
        (2, ("uncond", "cond"), Run("batch", 1), "'cond' was never evaluated"),  # two rows look like two images of uncond alone
        (1, ("uncond", "cond"), Run("none", 1), "'cond' was never evaluated"),
    ],
)
def test_wrong_images_or_branches_are_refused(
    unet: UNet2DConditionModel, images: int, branches: tuple[str, ...], run: Run, text: str
) -> None:
    before = traces(unet)
    recording = record(unet, LAYOUT, steps=3, images=images, branches=branches, keep=branches)
    with pytest.raises(RecordingError, match=text), recording:
        run(unet)
    assert traces(unet) == before
    with pytest.raises(RecordingError):
        _ = recording.maps


def test_guidance_that_is_not_there_is_not_taken_for_cond(unet: UNet2DConditionModel) -> None:
    """The default keeps cond alone: a run without guidance, declared with it, must not give an empty or wrong map."""
    text = r"'cond' was never evaluated: the model's calls were taken for uncond; .* give branches=\('cond',\)"
    with pytest.raises(RecordingError, match=text), record(unet, LAYOUT, steps=3):
        Run("none", 1)(unet)


@pytest.mark.parametrize("layout", [TokenGrid(4, 3, 1), (4, 3), "4x3"])
def test_what_is_no_layout_is_refused_before_the_model_runs(unet: UNet2DConditionModel, layout: object) -> None:
    with pytest.raises(LayoutError, match=rf"the layout is a {type(layout).__name__}, expected a Layout, such as Layout\.of"):
        record(unet, layout, steps=3)  # type: ignore[arg-type]


def test_a_layout_function_that_gives_no_layout(unet: UNet2DConditionModel) -> None:
    recording = record(unet, lambda _name: TokenGrid(4, 3, 1), steps=3)  # type: ignore[arg-type, return-value]
    with pytest.raises(LayoutError, match=f"answer for layer '{LAYERS[0]}' is a TokenGrid, expected"), recording:
        Run()(unet)


@pytest.mark.parametrize("layers", ["nope.*", ["nope.*", "no"]])
def test_layers_that_the_model_does_not_have_are_refused_with_those_that_it_has(
    unet: UNet2DConditionModel, layers: str | list[str]
) -> None:
    with pytest.raises(RecordingError, match=rf"no layer of this model matches 'nope\.\*.*it has: {LAYERS[0]}, "):
        recorded(unet, Run(), layers=layers)


def test_more_steps_than_declared_are_refused(unet: UNet2DConditionModel) -> None:
    before = traces(unet)
    with pytest.raises(RecordingError, match="step 2 is outside of the schedule's 2 steps"):
        recorded(unet, Run(), steps=2)
    assert traces(unet) == before


def test_a_run_that_never_calls_the_model_is_refused(unet: UNet2DConditionModel) -> None:
    with pytest.raises(RecordingError, match="not called"), recording_of(unet, Run()):
        pass


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"keep": ("negative",)}, "negative"),
        ({"branches": ("cond", "cond")}, "once"),
        ({"images": 0}, "images"),
        ({"steps": 0}, "steps"),
        ({"pairwise": "all"}, "pairwise"),
        ({"budget": 0}, "budget"),
    ],
)
def test_settings_that_mean_nothing_are_refused(unet: UNet2DConditionModel, options: dict, text: str) -> None:
    before = traces(unet)
    with pytest.raises(RecordingError, match=text), record(unet, LAYOUT, **{"steps": 3, **options}):
        Run()(unet)
    assert traces(unet) == before


def test_other_models_are_refused() -> None:
    with pytest.raises(RecordingError, match=r"UNet2DConditionModel.*Linear"):
        record(nn.Linear(2, 2), LAYOUT, steps=1)


def test_a_picture_that_changes_its_size_is_refused(unet: UNet2DConditionModel) -> None:
    recording = recording_of(unet, Run())
    with recording:
        Run(times=TIMES[:1])(unet)
        with pytest.raises(RecordingError, match=r"12 x 10.*8 x 8.*one size of picture"):
            Run(times=TIMES[1:], latent=(8, 8))(unet)


SIMPLE = {
    "down_block_types": ("SimpleCrossAttnDownBlock2D", "DownBlock2D"),
    "mid_block_type": "UNetMidBlock2DSimpleCrossAttn",
    "up_block_types": ("UpBlock2D", "SimpleCrossAttnUpBlock2D"),
}


def test_a_unet_without_cross_attention_of_its_own_is_refused_by_what_it_is() -> None:
    unet = tiny_unet(**SIMPLE)
    before = traces(unet)
    with pytest.raises(RecordingError, match="mixes the reference's keys with its own self-attention's"):
        recorded(unet, Run())
    assert traces(unet) == before
    plain = {"down_block_types": ("DownBlock2D",) * 2, "mid_block_type": None, "up_block_types": ("UpBlock2D",) * 2}
    with pytest.raises(RecordingError, match="this U-Net has none"):
        recorded(tiny_unet(**plain), Run())


def test_layers_that_mix_are_left_out_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    unet = tiny_unet(down_block_types=("SimpleCrossAttnDownBlock2D", "CrossAttnDownBlock2D"))
    run = Run()
    out, maps = recorded(unet, run)
    assert (out == run(unet)).all()
    assert [x.name for x in maps.layers] == [x for x in LAYERS if not x.startswith("down_blocks.0")]
    assert "attend to the reference and to themselves in one softmax" in caplog.text
