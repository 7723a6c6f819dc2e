"""I2AM_Overlay, I2AM_Grid and I2AM_Animate: sizes, counts, what is drawn where, and what is refused."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import folder_paths
import pytest
import torch
from host_tests.maps_case import GENERATED, REFERENCE, defaults, library, picture, planted


@pytest.fixture(scope="module")
def maps(pack: ModuleType) -> Any:
    return planted(pack)


@pytest.fixture
def draw(pack_nodes: dict[str, Any]) -> Any:
    def drawn(name: str, **inputs: Any) -> torch.Tensor:
        found = pack_nodes[name].EXECUTE_NORMALIZED(**{**defaults(pack_nodes[name]), **inputs}).result[0]
        assert found.dtype == torch.float32
        assert found.ndim == 4
        assert found.shape[-1] == 3
        assert float(found.min()) >= 0
        assert float(found.max()) <= 1
        return found

    return drawn


def heat_of(pack_nodes: dict[str, Any], maps: Any, **inputs: Any) -> Any:
    node = pack_nodes["I2AM_Map"]
    return node.execute(**{**defaults(node), "maps": maps, "side": "mass", **inputs}).args[0]


def test_without_a_bar_the_heat_alone_lies_on_the_picture(draw: Any, pack_nodes: dict[str, Any], maps: Any) -> None:
    heat = heat_of(pack_nodes, maps, batch_index=0)
    shown = picture(GENERATED)
    drawn = draw("I2AM_Overlay", image=shown, heat=heat, colour_bar=False, opacity=1.0)
    assert drawn.shape == shown.shape
    change = (drawn - shown).abs().amax(-1)[0]  # the left half has the mass, the right half next to none
    assert float(change[:, :16].min()) > 0.1
    assert float(change[:, -16:].max()) < 0.05
    assert torch.equal(draw("I2AM_Overlay", image=shown, heat=heat, colour_bar=False, opacity=0.0), (shown * 255).round() / 255)


def test_what_is_transparent_is_laid_over_white(draw: Any) -> None:
    clear = torch.cat([picture(GENERATED), torch.zeros(1, *GENERATED, 1)], -1)
    white, half = torch.ones(1, *GENERATED, 3), torch.full((1, *GENERATED, 1), 0.5)
    assert torch.equal(draw("I2AM_Grid", image=clear), draw("I2AM_Grid", image=white))
    dark = torch.cat([torch.zeros(1, *GENERATED, 3), half], -1)
    assert torch.equal(draw("I2AM_Grid", image=dark), draw("I2AM_Grid", image=white / 2))


def test_the_threshold_travels_with_the_heat(draw: Any, pack_nodes: dict[str, Any], maps: Any) -> None:
    heat = heat_of(pack_nodes, maps, batch_index=0)
    shown = picture(GENERATED)
    cut = pack_nodes["I2AM_Threshold"].execute(heat=heat, threshold=0.8, scale="each").args[0]
    few = (draw("I2AM_Overlay", image=shown, heat=cut, colour_bar=False, opacity=1.0) - shown).abs().amax(-1) > 0.05
    many = (draw("I2AM_Overlay", image=shown, heat=heat, colour_bar=False, opacity=1.0) - shown).abs().amax(-1) > 0.05
    assert bool((many | ~few).all())
    assert 0 < int(few.sum()) < int(many.sum())


@pytest.mark.parametrize("pictures", [1, 2, 4])
def test_pictures_meet_panels(draw: Any, pack_nodes: dict[str, Any], maps: Any, pictures: int) -> None:
    heat = heat_of(pack_nodes, maps, level="TLAM", groups=2)  # two images of two panels
    shown = picture(GENERATED, pictures)
    drawn = draw("I2AM_Overlay", image=shown, heat=heat, colour_bar=False, opacity=0.0)
    expected = {1: [0, 0, 0, 0], 2: [0, 0, 1, 1], 4: [0, 1, 2, 3]}[pictures]
    assert torch.equal(drawn, ((shown * 255).round() / 255)[expected])


def test_bars_and_captions_make_pictures_of_one_size(draw: Any, pack_nodes: dict[str, Any], maps: Any) -> None:
    heat = heat_of(pack_nodes, maps, level="LLAM")
    drawn = draw("I2AM_Overlay", image=picture(GENERATED), heat=heat)
    assert len(drawn) == 4
    assert min(drawn.shape[1:3]) > 384


def test_the_official_preset_is_blended_as_its_authors_do(draw: Any, pack_nodes: dict[str, Any], maps: Any) -> None:
    heat = heat_of(pack_nodes, maps, preset="official", batch_index=0)
    shown = picture(GENERATED) * 0.2
    drawn = draw("I2AM_Overlay", image=shown, heat=heat, colour_bar=False)
    # picture * 0.7 + jet * 0.5: nowhere less than 0.7 of the picture, and everywhere coloured
    assert bool((drawn >= shown * 0.7 - 0.01).all())
    assert float((drawn - shown * 0.7).amax(-1).min()) > 0.2


def test_a_grid_previews_itself_and_shows_every_panel(run_graph: Any, pack_nodes: dict[str, Any], maps: Any) -> None:
    node = pack_nodes["I2AM_Grid"]
    inputs = {**defaults(node), "heat": ["give_heat", 0], "image": ["give_image", 0], "title": "Over time", "columns": 2}
    give = {"heat": heat_of(pack_nodes, maps, level="TLAM", groups=4, batch_index=0), "image": picture(GENERATED)}
    prompt = {"grid": {"class_type": "I2AM_Grid", "inputs": inputs}}
    out = run_graph(prompt, give=give, watch={"sheet": ("grid", 0)})
    (saved,) = out.ui["grid"]["images"]
    assert (Path(folder_paths.get_temp_directory()) / saved["filename"]).is_file()
    assert out["sheet"].shape[0] == 1
    tall = out["sheet"].shape[1]  # two rows of two panels
    row = {**prompt["grid"]["inputs"], "columns": 4}
    flat = run_graph({"grid": {"class_type": "I2AM_Grid", "inputs": row}}, give=give, watch={"sheet": ("grid", 0)})["sheet"]
    assert flat.shape[2] / flat.shape[1] > 2 * out["sheet"].shape[2] / tall


def test_a_grid_of_pictures_alone(draw: Any) -> None:
    sheet = draw("I2AM_Grid", image=picture((60, 50), 3), labels="cfg 1\ncfg 3\ncfg 5", columns=3)
    assert sheet.shape[0] == 1
    assert sheet.shape[2] > 3 * 50


def test_frames_of_two_images_play_side_by_side(draw: Any, pack_nodes: dict[str, Any], maps: Any) -> None:
    one = draw("I2AM_Animate", heat=heat_of(pack_nodes, maps, level="TLAM", groups=4, batch_index=0), image=picture(GENERATED))
    two = draw("I2AM_Animate", heat=heat_of(pack_nodes, maps, level="TLAM", groups=4), image=picture(GENERATED, 2))
    assert len(one) == len(two) == 4
    assert two.shape[2] > 1.9 * one.shape[2]
    assert not torch.equal(one[0], one[1])


def test_a_heat_without_a_picture_lies_on_grey(draw: Any, pack_nodes: dict[str, Any], maps: Any) -> None:
    heat = heat_of(pack_nodes, maps, side="G2R", batch_index=0)
    assert len(draw("I2AM_Animate", heat=heat)) == 1
    assert draw("I2AM_Grid", heat=heat).shape[0] == 1


@pytest.mark.parametrize(
    ("name", "inputs", "words"),
    [
        ("I2AM_Overlay", {"image": torch.zeros(3, *GENERATED, 3)}, ["3 pictures", "2 image(s)", "4 panels"]),
        ("I2AM_Overlay", {"image": torch.zeros(1, 64, 80, 3)}, ["80 x 64", "64 x 80"]),
        ("I2AM_Animate", {"image": torch.zeros(1, 40, 90, 3)}, ["90 x 40", "64 x 80"]),
        ("I2AM_Grid", {"image": torch.zeros(1, *GENERATED, 3), "labels": "a\nb\nc"}, ["3 labels", "4 panels"]),
        ("I2AM_Grid", {"heat": None}, ["neither heat nor image is connected"]),
    ],
)
def test_what_cannot_be_meant_is_said(
    pack: ModuleType, pack_nodes: dict[str, Any], maps: Any, name: str, inputs: dict[str, Any], words: list[str]
) -> None:
    heat = heat_of(pack_nodes, maps, level="TLAM", groups=2)
    node = pack_nodes[name]
    with pytest.raises(library(pack, "errors").I2AMError) as caught:
        node.execute(**{**defaults(node), "heat": heat, **inputs})
    assert [word for word in words if word not in str(caught.value)] == []


def test_a_reference_of_another_size_is_no_error(draw: Any, pack_nodes: dict[str, Any], maps: Any) -> None:
    heat = heat_of(pack_nodes, maps, side="G2R", batch_index=0)
    large = picture((3 * REFERENCE[0], 3 * REFERENCE[1]))
    assert draw("I2AM_Overlay", image=large, heat=heat, colour_bar=False).shape == large.shape
