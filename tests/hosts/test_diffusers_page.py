"""The page web/docs/diffusers.md: its snippets run, on tiny pipelines, and what it says of pictures and masks holds."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from canvas_pipelines import build, canvas, masked, run
from joint_pipelines import GARMENT, PERSON, PIPES, small_references
from PIL import Image
from planted import CONTEXT, LATENT, tiny_unet
from wan_pipeline import pipeline as wan_pipeline

PAGE = Path(__file__).parents[2] / "web" / "docs" / "diffusers.md"
HEADS = re.findall(r"^## (.+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
HELD = ("transformer", "scheduler", "vae_scale_factor")
SEVERAL = ["Flux2Pipeline", "Flux2KleinPipeline", "QwenImageEditPlusPipeline"]


def snippets(heading: str) -> list[str]:
    section = PAGE.read_text(encoding="utf-8").partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"^```python\n(.*?)^```", section, re.DOTALL | re.MULTILINE)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    small_references(monkeypatch)
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def prompted(name: str) -> Any:
    """A tiny pipeline that is called as a real one: its prompt's embeddings stand for the prompt, and pictures are small."""
    case = PIPES[name]
    pipe = case.build()
    kind = type(pipe)
    # these are guided unless told otherwise, and make their own negative
    always = kind in (diffusers.Flux2KleinPipeline, diffusers.ZImageOmniPipeline)

    class Prompted(kind):  # type: ignore[misc, valid-type]
        def __call__(self, *, prompt: str, negative_prompt: str | None = None, **given: Any) -> Any:
            assert prompt
            own = {**case.call, **(case.negative if always or negative_prompt is not None else {})}
            size = {"height": 96, "width": 96, "generator": torch.Generator().manual_seed(3)}
            size |= {"max_area": 96 * 96} if "max_area" in own else {}
            words = torch.randn(1, 5, 8, generator=torch.Generator().manual_seed(5))
            with torch.inference_mode():
                return kind.__call__(self, **{"prompt_embeds": words, **own, **size, **given})

    pipe.__class__ = Prompted
    return pipe


def execute(heading: str, **names: Any) -> dict[str, Any]:
    imports = snippets("A pipeline with reference pictures")[0].splitlines()[0]
    exec(imports, names)  # noqa: S102
    for code in snippets(heading):
        exec(compile(code, f"{PAGE.name}: {heading}", "exec"), names)  # noqa: S102
    return names


def test_every_snippet_is_run_here() -> None:
    run = {"A pipeline with reference pictures", "Several references", "Several pictures in one", "A video"}
    run |= {"Guidance, batches, detail and memory", "A U-Net, and a loop of your own"}
    run |= {"Masks and pictures must be those that the model saw"}
    assert {heading for heading in HEADS if snippets(heading)} == run
    assert PAGE.read_text(encoding="utf-8").count("```python") == sum(len(snippets(heading)) for heading in run)


@pytest.mark.parametrize("name", ["FluxKontextPipeline", *SEVERAL, "ZImageOmniPipeline"])
def test_a_pipeline_with_reference_pictures(name: str, tmp_path: Path) -> None:
    names = execute("A pipeline with reference pictures", pipeline=prompted(name), person=PERSON)
    assert names["maps"].run.steps == 20
    assert {path.suffix for path in tmp_path.iterdir()} == {".png", ".html"}


@pytest.mark.parametrize("name", SEVERAL)
def test_several_references(name: str, tmp_path: Path) -> None:
    names = execute("Several references", pipeline=prompted(name), person=PERSON, garment=GARMENT)
    assert len(names["maps"].references) == 2
    torch.testing.assert_close(names["parts"].values.sum(0), torch.ones(names["parts"].values.shape[1:]))
    assert (tmp_path / "report.html").exists()


def test_several_pictures_in_one(tmp_path: Path) -> None:
    pipe = build("fill")

    def fill(*, prompt: str, image: Image.Image, mask_image: Image.Image, num_inference_steps: int) -> Any:
        """Called as the real pipeline, whose tiny components take embeddings for the prompt."""
        assert prompt
        run("fill", pipe, image=image, mask_image=mask_image, num_inference_steps=num_inference_steps)
        return SimpleNamespace(images=[image])

    fill.transformer, fill.scheduler, fill.vae_scale_factor = (getattr(pipe, name) for name in HELD)  # type: ignore[attr-defined]
    stitched = Image.new("RGB", (96, 64), (30, 200, 10))
    given = {"side_by_side": stitched, "canvas": canvas(), "mask": masked(), "fill": fill}
    names = execute("Several pictures in one", pipeline=prompted("FluxKontextPipeline"), **given)
    assert names["recording"].maps.references[0].grid.columns == 3
    assert len([*tmp_path.glob("*.png")]) == 3


def test_a_video(tmp_path: Path) -> None:
    def embedded(_pipe: Any, *, prompt: str, **given: Any) -> Any:
        assert prompt
        words = {name: torch.randn(1, 512, 8) for name in ("prompt_embeds", "negative_prompt_embeds")}
        return diffusers.WanImageToVideoPipeline.__call__(_pipe, height=48, width=80, **words, **given)

    pipe = wan_pipeline()
    pipe.__class__ = type("Prompted", (diffusers.WanImageToVideoPipeline,), {"__call__": embedded})
    names = execute("A video", pipeline=pipe, person=PERSON)
    assert (names["maps"].images, len(names["video"])) == (3, 9)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"frame_{i}.png" for i in range(3)] + ["used_last.png"]


def test_guidance_batches_detail_and_memory(tmp_path: Path) -> None:
    maps = execute("Guidance, batches, detail and memory", pipeline=prompted("FluxKontextPipeline"), person=PERSON)["maps"]
    assert (maps.images, maps.branches) == (2, ("cond", "uncond"))
    assert len(maps.recorded) == 10
    assert maps.nbytes <= 200_000_000
    assert not any(layer.queries for layer in maps.layers)
    assert (tmp_path / "run.safetensors").exists()


def test_a_loop_of_your_own() -> None:
    given = {
        "unet": tiny_unet(sample_size=64),
        "scheduler": diffusers.DDIMScheduler(),
        "latents": torch.randn(1, 4, *LATENT),
        "reference_tokens": torch.randn(1, 13, CONTEXT),
    }
    names = execute("A U-Net, and a loop of your own", torch=torch, **given)
    assert names["recording"].maps.recorded == tuple(range(20))
    assert names["heat"].size == (128, 96)


def said(node: ast.AST) -> str:
    """A literal text of the source, with "…" where something is filled in."""
    if isinstance(node, ast.JoinedStr):
        return "".join(map(said, node.values))
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else "…"


def test_the_messages_of_the_page_are_those_of_the_library() -> None:
    files = [p for p in (PAGE.parents[2] / "i2am").rglob("*.py") if "comfy" not in p.parts]
    texts = [said(node) for file in files for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))]
    section = PAGE.read_text(encoding="utf-8").partition("## When it says")[2]
    messages = re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)
    assert len(messages) >= 7
    for message in messages:
        pattern = ".*".join(re.escape(part) for part in message.replace("'uncond'", "…").split("…"))
        assert any(re.search(pattern, text) for text in texts), message


def seen(name: str, picture: Image.Image, monkeypatch: pytest.MonkeyPatch, **call: Any) -> np.ndarray:
    """What a pipeline gives its autoencoder of a reference, (H, W) in 0-1."""
    pipe, found = PIPES[name].build(), []
    encode = pipe.vae.encode

    def spy(x: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        found.append(x)
        return encode(x, *args, **kwargs)

    monkeypatch.setattr(pipe.vae, "encode", spy)
    with torch.inference_mode():
        PIPES[name].run(pipe, image=picture, **call)
    value = found[0][0].float()
    value = value[:, 0] if value.ndim == 4 else value
    return np.asarray(value.mean(0) / 2 + 0.5)


def marked(width: int, height: int) -> Image.Image:
    """White right of 40 % and below 30 %."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[int(0.3 * height) :, int(0.4 * width) :] = 255
    return Image.fromarray(pixels)


def off(picture: Image.Image, model: np.ndarray) -> float:
    """How far a picture, stretched to what the model saw, is from it: the share of pixels that differ."""
    laid = picture.convert("L").resize(model.shape[::-1], Image.Resampling.BILINEAR)
    return float((np.abs(np.asarray(laid) / 255 - model) > 0.5).mean())


@pytest.mark.parametrize(("name", "call"), [("FluxKontextPipeline", {"_auto_resize": True}), ("QwenImageEditPlusPipeline", {})])
def test_these_pipelines_squash_so_that_masks_fit(name: str, call: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    picture = marked(300, 100) if name.startswith("Flux") else marked(131, 77)
    model = seen(name, picture, monkeypatch, **call)
    assert model.shape != picture.size[::-1]
    assert off(picture, model) < 0.02


@pytest.mark.parametrize("name", [*SEVERAL[:2], "ZImageOmniPipeline"])
def test_flux2_cuts_the_middle_out_as_the_page_does(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = marked(111, 79)
    model = seen(name, picture, monkeypatch)
    assert model.shape == (64, 96)
    names = execute("Masks and pictures must be those that the model saw", person=picture, person_mask=picture)
    assert names["person"].size == (96, 64)
    assert off(names["person_mask"], model) == 0
    assert off(picture, model) > 0.02
