"""Try-ons in one batch are those made one by one, and a run that is not recorded gives the same picture."""

from __future__ import annotations

import pytest
import torch
from PIL import Image
from torch import Tensor

from i2am.demo.run import picture_of
from i2am.drawn.draw import draw_pairs
from i2am.drawn.spec import draw_pair
from i2am.errors import I2AMError, RecordingError, WeightsFileError
from i2am.geometry.layout import Layout, TokenGrid
from i2am.hosts.diffusers.tryon import make_tryon, make_tryons
from i2am.levels.choice import Choice
from i2am.levels.marginal import ulam
from i2am.levels.masked import masked_g2r
from i2am.models.carried import Carried, carry
from i2am.models.conditioning import Ready, joined
from i2am.models.demo.as_tryon import demo_files, load_demo
from i2am.models.demo.family import WEIGHTS
from i2am.models.demo.tryon import DemoModel, try_on
from i2am.models.tryon.model import TryOnModel

SEEDS = [3, 11]


@pytest.fixture(scope="module")
def model() -> TryOnModel:
    return load_demo()


def given(seed: int) -> dict[str, Image.Image]:
    drawn = draw_pairs([draw_pair(seed)])
    pictures = {name: picture_of(getattr(drawn, name)[0]) for name in ("person", "agnostic", "densepose", "reference")}
    masks = {name: picture_of(getattr(drawn, name)[0]).convert("L") for name in ("inpaint_mask", "reference_mask")}
    return {**pictures, **masks}


def tensor(picture: Image.Image) -> Tensor:
    return torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8).view(picture.height, picture.width, 3) / 255


def test_a_batch_is_its_images_one_by_one(model: TryOnModel) -> None:
    batch = [given(seed) for seed in SEEDS]
    together = make_tryons(model, batch, SEEDS, steps=3)
    for image, (made, pictures, seed) in enumerate(zip(together, batch, SEEDS, strict=True)):
        alone = make_tryon(model, pictures, seed=seed, steps=3)
        assert (made.image, alone.image) == (image, 0)
        for name in ("picture", "pasted"):
            assert torch.allclose(getattr(made, name), getattr(alone, name), atol=1e-4)
        assert made.maps is not None
        assert alone.maps is not None
        for side in ("R2G", "G2R"):
            found, expected = ulam(made.maps, side, Choice(image=image)).values, ulam(alone.maps, side).values
            assert torch.allclose(found, expected, rtol=1e-3)
        weighted = masked_g2r(made.maps, None, Choice(image=image))[0].values  # by the image's own mask
        assert torch.allclose(weighted, masked_g2r(alone.maps)[0].values, rtol=1e-3)
    assert together[0].maps is together[1].maps
    assert together[0].maps.run.extra["seeds"] == SEEDS


def test_recording_changes_no_bit(model: TryOnModel) -> None:
    recorded, plain = (make_tryon(model, given(5), steps=2, recorded=recorded) for recorded in (True, False))
    assert torch.equal(recorded.picture, plain.picture)
    assert (plain.maps, plain.failed) == (None, {})


def test_recording_some_steps_keeps_what_recording_all_keeps_of_these(model: TryOnModel) -> None:
    every, some = (make_tryon(model, given(5), steps=8, every=every) for every in (1, 3))
    assert torch.equal(every.picture, some.picture)
    assert every.maps is not None
    assert some.maps is not None
    steps = [1, 4, 6]
    assert some.maps.recorded == tuple(steps)
    assert "recorded in 3 of 8 steps, evenly spread" in some.maps.notes
    for layer in some.maps.layers:
        for kind in ("r2g", "g2r", "g2r_masked"):
            found, expected = (maps.marginal(kind, layer.name)[:, steps] for maps in (some.maps, every.maps))
            assert torch.equal(found, expected)
    mean = torch.stack([ulam(every.maps, "G2R", Choice(steps=(step, step + 1))).values for step in steps]).mean(0)
    assert torch.allclose(ulam(some.maps, "G2R").values, mean, rtol=1e-4)
    with pytest.raises(RecordingError, match="every is 0"):
        make_tryon(model, given(5), steps=2, every=0)


def test_it_is_the_demo_models_own_try_on(model: TryOnModel) -> None:
    pictures = {name: tensor(picture).movedim(-1, 0)[None] for name, picture in given(7).items() if picture.mode == "RGB"}
    known = {name: pictures[name] for name in ("agnostic", "densepose", "reference")}
    expected = try_on(DemoModel.load(), **known, seeds=[4], steps=4, cfg=3.0)[0]
    assert torch.allclose(make_tryon(model, given(7), seed=4, steps=4, cfg=3.0).picture, expected, atol=1e-4)


def ready(picture: tuple[int, int]) -> Ready:
    layout = Layout.of(TokenGrid(4, 3, picture=picture))
    part = carry([[torch.zeros(1, 12, 8), {"noise_concat": torch.zeros(1, 8, 4, 4)}]], Carried(layout))
    return Ready(part, part, torch.zeros(1, 4, 4, 4))


def test_references_that_lie_otherwise_are_no_batch() -> None:
    joint = joined([ready((16, 12)), ready((16, 12))])
    assert [joint.positive[0][0].shape[0], joint.negative[0][1]["noise_concat"].shape[0], len(joint.latent)] == [2, 2, 2]
    with pytest.raises(I2AMError, match="pictures of one size"):
        joined([ready((16, 12)), ready((32, 24))])


def test_weights_of_the_same_layout_take_the_place_of_the_bundled_ones(tmp_path) -> None:  # type: ignore[no-untyped-def]
    unet = tmp_path / "trained.safetensors"
    unet.write_bytes((WEIGHTS / "unet.safetensors").read_bytes())
    assert demo_files(unet) == {"unet": unet, **{name: WEIGHTS / f"{name}.safetensors" for name in ("vae", "encoder")}}
    assert load_demo(unet).unet.device.type == "cpu"
    with pytest.raises(WeightsFileError, match=r"there is no .*unet\.safetensors; expected a folder"):
        demo_files(tmp_path)
    unet.write_bytes((WEIGHTS / "vae.safetensors").read_bytes())
    with pytest.raises(WeightsFileError, match="is not of the demo model's layout"):
        load_demo(unet)
    with pytest.raises(I2AMError, match="seed 0, -1"):
        make_tryons(load_demo(), [given(1), given(2)], [0, -1], steps=1)
