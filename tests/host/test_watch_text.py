"""I²AM Watch Text: encodings stay the same to the last bit, and say which words their tokens stand for."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import comfy.sd
import comfyui_version
import pytest
import torch
from host_tests import tiny_joint, tiny_text
from host_tests.graph_bench import Bench, bench
from host_tests.maps_case import library, picture

PROMPT = "put the striped t-shirt on her, café style"
WORDS = {  # sentencepiece and byte-level tokens keep a hyphen inside; CLIP ends words at it
    "flux": ["put", "the", "striped", "t-shirt", "on", "her", ",", "café", "style"],
    "klein": ["put", "the", "striped", "t-shirt", "on", "her", ",", "café", "style"],
    "qwen": ["put", "the", "striped", "t-shirt", "on", "her", ",", "café", "style"],
    "l": ["put", "the", "striped", "t", "-", "shirt", "on", "her", ",", "café", "style"],
}
KINDS = [kind for kind in WORDS if kind in tiny_text.KINDS]
LANGUAGE_MODELS = [kind for kind in KINDS if kind in ("flux", "klein", "qwen")]
WINDOWS = comfyui_version.__version__ == "0.8.0"


@pytest.fixture(scope="module")
def clips() -> Iterator[dict[str, Any]]:
    with pytest.MonkeyPatch.context() as patch:
        yield {kind: tiny_text.clip(kind, patch) for kind in KINDS}


@pytest.fixture
def watch(pack_nodes: dict[str, Any]) -> Any:
    return lambda clip: pack_nodes["I2AM_WatchText"].execute(clip)[0]


def encoded(clip: Any, text: str = PROMPT, **given: Any) -> tuple[torch.Tensor, dict[str, Any]]:
    ((cond, options),) = clip.encode_from_tokens_scheduled(clip.tokenize(text, **given))
    return cond, options


def said(pack: ModuleType, cond: torch.Tensor, options: dict[str, Any]) -> tuple[Any, str]:
    """What a recording reads of a conditioning that a model takes as it is."""
    entry = {"cross_attn": cond, "model_conds": {"c_crossattn": SimpleNamespace(cond=cond)}, **options}
    return library(pack, "hosts.comfy.words").words_in(entry)


def hooks(clip: Any) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in clip.cond_stage_model.modules())


def alike(a: Any, b: Any) -> bool:
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_the_encoding_is_the_same_to_the_last_bit_and_says_its_words(
    pack: ModuleType, clips: dict[str, Any], watch: Any, kind: str
) -> None:
    clip = clips[kind]
    plain, about = encoded(clip)
    watched = watch(clip)
    cond, options = encoded(watched)
    assert torch.equal(cond, plain)
    assert set(options) - set(about) == {"i2am_words"}
    assert all(alike(options[name], value) for name, value in about.items())
    assert isinstance(watched, comfy.sd.CLIP)
    words, why = said(pack, cond, options)
    assert why == ""
    assert [word.name for word in words if word.kind == "word"] == WORDS[kind]
    assert [token for word in words for token in range(word.start, word.stop)] == list(range(cond.shape[1]))
    assert hooks(clip) == 0
    assert "i2am_words" not in encoded(clip)[1]


def numbers(clip: Any, text: str) -> list[int]:
    """Of the tokens that the model's sequence holds: the last encoder's."""
    *_, (section,) = clip.tokenize(text).values()
    return [token for token, _ in section]


@torch.no_grad()
@pytest.mark.parametrize("kind", LANGUAGE_MODELS)
def test_a_words_tokens_are_those_that_change_with_it(pack: ModuleType, clips: dict[str, Any], watch: Any, kind: str) -> None:
    cond, options = encoded(watch(clips[kind]))
    (her,) = (word for word in said(pack, cond, options)[0] if word.name == "her")
    ids, others = (numbers(clips[kind], text) for text in (PROMPT, PROMPT.replace("her", "him")))
    dropped = len(ids) - cond.shape[1]
    assert [i - dropped for i, (a, b) in enumerate(zip(ids, others, strict=True)) if a != b] == [her.start]


@torch.no_grad()
def test_special_tokens_fill_and_the_template_are_told_apart(pack: ModuleType, clips: dict[str, Any], watch: Any) -> None:
    kinds = {kind: said(pack, *encoded(watch(clips[kind])))[0] for kind in KINDS}
    t5 = kinds["flux"]
    assert [(word.name, word.kind) for word in t5[-2:]] == [("</s>", "special"), ("fill", "fill")]
    assert t5[-1].stop == 256
    if "klein" in kinds:
        klein = [(word.name, word.kind) for word in kinds["klein"]]
        assert klein[:3] == [("<|im_start|>", "special"), ("user", "template"), ("line break", "template")]
        assert klein[-1] == ("fill", "fill")
        assert kinds["klein"][-1].stop == 512
        assert ("assistant", "template") in klein
    qwen = [(word.name, word.kind) for word in kinds["qwen"]]
    assert qwen[0] == ("put", "word")  # the template's beginning is dropped
    assert qwen[-1][1] == "template"
    clip_l = [(word.name, word.kind) for word in kinds["l"]]
    assert clip_l[0] == ("<|startoftext|>", "special")
    assert clip_l[-2:] == [("<|endoftext|>", "special"), ("fill", "fill")]


@torch.no_grad()
@pytest.mark.parametrize("kind", LANGUAGE_MODELS)
@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("a red dress", ["a", "red", "dress"]),  # T5 writes the mark before "a" as a token of its own
        ("", []),
        ("a dress (silk\\)", ["a", "dress", "(", "silk", ")"]),
        ("e\u0301te\u0301 dress 👗", ["été", "dress", "👗"]),
    ],
)
def test_the_prompt_is_told_from_the_template_however_it_is_written(
    pack: ModuleType, clips: dict[str, Any], watch: Any, kind: str, text: str, want: list[str]
) -> None:
    words, why = said(pack, *encoded(watch(clips[kind]), text))
    assert why == ""
    assert [word.name for word in words if word.kind == "word" and word.name != "space"] == want
    assert any(word.kind == "template" for word in words) == (kind != "flux")


@torch.no_grad()
def test_letters_that_t5_does_not_know_have_their_words_and_a_remark(
    pack: ModuleType, clips: dict[str, Any], watch: Any
) -> None:
    words = library(pack, "hosts.comfy.words")
    cond, options = encoded(watch(clips["flux"]), "платье 服装 on 👗 her")
    found, _ = said(pack, cond, options)
    assert [word.name for word in found if word.kind == "word"] == ["платье", "服装", "on", "👗", "her"]
    remark = words.unknown_in(options, "cond")
    assert "text encoder of cond has no token for some letters of платье, 服装, 👗: it reads" in remark
    assert words.unknown_in(encoded(watch(clips["flux"]))[1], "cond") == ""
    assert words.unknown_in(encoded(watch(clips["qwen"]), "платье 服装 on 👗 her")[1], "cond") == ""


@torch.no_grad()
def test_clones_watch_as_well_before_and_behind_a_lora_loader(pack: ModuleType, clips: dict[str, Any], watch: Any) -> None:
    lora = {"lora_te_text_model_encoder_layers_0_mlp_fc1.lora_up.weight": torch.ones(16, 1)}
    lora["lora_te_text_model_encoder_layers_0_mlp_fc1.lora_down.weight"] = torch.ones(1, 16)
    _, before = comfy.sd.load_lora_for_models(None, watch(clips["l"]), lora, 0, 1.0)
    _, plain = comfy.sd.load_lora_for_models(None, clips["l"], lora, 0, 1.0)
    behind = watch(plain)
    want = encoded(plain)[0]
    assert not torch.equal(want, encoded(clips["l"])[0])
    for clip in (before, behind, watch(behind), before.clone().clone()):
        cond, options = encoded(clip)
        assert torch.equal(cond, want)
        assert [word.name for word in said(pack, cond, options)[0] if word.kind == "word"] == WORDS["l"]
    skipped = watch(clips["l"]).clone()
    skipped.clip_layer(-2)
    cond, options = encoded(skipped)
    assert said(pack, cond, options)[1] == ""


@torch.no_grad()
def test_of_a_long_text_each_piece_of_77_tokens_has_its_words(pack: ModuleType, clips: dict[str, Any], watch: Any) -> None:
    text = " ".join(f"red{i % 7} (dress:1.3)" for i in range(40))
    cond, options = encoded(watch(clips["l"]), text)
    assert torch.equal(cond, encoded(clips["l"], text)[0])
    assert cond.shape[1] > 77
    words, why = said(pack, cond, options)
    assert why == ""
    assert sum(word.name == "dress" for word in words) == 40
    assert words[-1].stop == cond.shape[1]


@torch.no_grad()
def test_nodes_that_tokenize_twice_have_the_words_of_the_encoder_that_is_used(
    pack: ModuleType, clips: dict[str, Any], watch: Any
) -> None:
    """As CLIP Text Encode Flux does: a text for each encoder, of which the model's sequence holds T5's."""
    clip = watch(clips["flux"])
    tokens = clip.tokenize("a photo")
    tokens["t5xxl"] = clip.tokenize(PROMPT)["t5xxl"]
    ((cond, options),) = clip.encode_from_tokens_scheduled(tokens)
    assert [word.name for word in said(pack, cond, options)[0] if word.kind == "word"] == WORDS["flux"]


@torch.no_grad()
def test_a_reference_in_the_encoders_eyes_has_its_grid_in_the_hosts_order(
    pack: ModuleType, clips: dict[str, Any], watch: Any
) -> None:
    images = [picture((168, 280)), picture((112, 84))]
    text = "".join(f"Picture {i}: <|vision_start|><|image_pad|><|vision_end|>" for i in (1, 2)) + PROMPT
    plain, clip = clips["qwen"], watch(clips["qwen"])
    cond, options = encoded(clip, text, images=images)
    assert torch.equal(cond, encoded(plain, text, images=images)[0])
    words, why = said(pack, cond, options)
    assert why == ""
    seen = [word for word in words if word.kind == "vision"]
    assert [word.name for word in seen] == ["reference 1, by the encoder's eyes", "reference 2, by the encoder's eyes"]
    assert [(word.grid, word.tokens) for word in seen] == [((6, 10), 60), ((4, 3), 12)]
    assert [word.window for word in seen] == ([4, 0] if WINDOWS else [0, 0])  # of 4 x 3 tokens both orders are the same
    assert [word.name for word in words if word.kind == "word"] == WORDS["qwen"]
    assert sum(i != token for i, token in enumerate(seen[0].order)) == (44 if WINDOWS else 0)


@torch.no_grad()
def test_where_its_tokens_lie_is_where_a_change_of_the_picture_arrives(
    pack: ModuleType, clips: dict[str, Any], watch: Any
) -> None:
    """One cell of the picture is changed: among the vision tokens before any attention, the one of its place changes."""
    visual = clips["qwen"].cond_stage_model.qwen25_7b.transformer.visual
    vl = library(pack, "hosts.comfy.text_tokens")
    process = __import__("comfy.text_encoders.qwen_vl", fromlist=["x"]).process_qwen2vl_images
    image = picture((168, 280))
    changed = image.clone()
    changed[:, 28 * 4 : 28 * 5, 28 * 7 : 28 * 8] += 0.5  # row 4, column 7
    taken = []
    with pytest.MonkeyPatch.context() as patch:
        for block in visual.blocks:  # without attention each token keeps its own place alone
            patch.setattr(block, "forward", lambda x, *_args, **_given: x)
        merged: list[torch.Tensor] = []
        handle = visual.merger.register_forward_hook(lambda _m, _a, out: merged.append(out))
        for one in (image, changed):
            pixels, grid = process(one)
            taken.append(visual(pixels, grid))
        handle.remove()
    seen = vl.Picture.of(visual, (pixels, grid), taken[1], merged[1])
    word = library(pack, "geometry.words").Word("seen", 0, 60, "vision", seen.grid, seen.window)
    (token,) = (taken[0] != taken[1]).any(-1).nonzero()[:, 0].tolist()
    place = (word.order or tuple(range(60))).index(token)
    assert divmod(place, 10) == (4, 7)


@torch.no_grad()
def test_a_node_for_several_pictures_carries_them_through_the_graph(run_graph: Any, clips: dict[str, Any]) -> None:
    inputs = {"clip": ["watch", 0], "prompt": PROMPT, "image1": ["give_image", 0]}
    prompt = {
        "watch": {"class_type": "I2AM_WatchText", "inputs": {"clip": ["give_clip", 0]}},
        "encode": {"class_type": "TextEncodeQwenImageEditPlus", "inputs": inputs},
    }
    out = run_graph(prompt, give={"clip": clips["qwen"], "image": picture((112, 84))}, watch={"cond": ("encode", 0)})
    ((_, options),) = out["cond"]
    words = options["i2am_words"]["words"]
    assert [word["grid"] for word in words if word["kind"] == "vision"] == [[16, 12]]
    assert [word["name"] for word in words if word["kind"] == "word"] == WORDS["qwen"]


@pytest.fixture
def made(pack: ModuleType, pack_nodes: dict[str, Any], tmp_path: Any) -> Iterator[Bench]:
    with bench(pack, pack_nodes, tmp_path) as found:
        yield found


@torch.no_grad()
def test_from_the_text_encoder_to_the_map_of_a_word(run_graph: Any, made: Bench, clips: dict[str, Any], watch: Any) -> None:
    clip = watch(clips["flux"])
    ((cond, options),) = clip.encode_from_tokens_scheduled(clip.tokenize(PROMPT))
    ((_, tiny),) = tiny_joint.conditioning("kontext", (4, 4))
    positive = [[cond, {**tiny, **options, "pooled_output": tiny["pooled_output"]}]]
    graph = made.joint(positive=positive, record={"detail": "pairwise and words", "queries": "all"})
    graph = made.behind(graph, "I2AM_Map", maps=["collect", 1], side="words")
    out = run_graph(graph, give=made.give, watch={"heat": ("node", 0), "labels": ("node", 2), "maps": ("collect", 1)})
    heat = out["heat"]
    assert list(heat.labels) == [*WORDS["flux"], "special tokens", "fill", "reference", "generated"]
    torch.testing.assert_close(heat.values.sum(0), torch.ones(heat.values.shape[1:]), rtol=0, atol=2e-5)
    assert not any("no names" in note or "no token for" in note for note in heat.notes)
    assert out["maps"].word_layers == ("double.0", "double.1", "single.0", "single.1")


@torch.no_grad()
def test_what_the_encoder_cannot_read_is_said_with_the_maps(
    run_graph: Any, made: Bench, clips: dict[str, Any], watch: Any
) -> None:
    clip = watch(clips["flux"])
    ((cond, options),) = clip.encode_from_tokens_scheduled(clip.tokenize("a 服装 on her"))
    ((_, tiny),) = tiny_joint.conditioning("kontext", (4, 4))
    positive = [[cond, {**tiny, **options, "pooled_output": tiny["pooled_output"]}]]
    graph = made.joint(positive=positive, record={"detail": "marginals and words"})
    graph = made.behind(graph, "I2AM_Map", maps=["collect", 1], side="words", word="服装")
    heat = run_graph(graph, give=made.give, watch={"heat": ("node", 0)})["heat"]
    assert heat.labels == ("服装",)
    assert [note for note in heat.notes if "no token for some letters of 服装" in note]


@torch.no_grad()
def test_flux_2_fills_a_text_in_front_and_the_words_move_with_it(pack: ModuleType, run_graph: Any, made: Bench) -> None:
    words, geometry = library(pack, "hosts.comfy.words"), library(pack, "geometry.words")
    ((cond, options),) = tiny_joint.conditioning("flux2", (4, 4))
    named = geometry.words_of([f"▁w{i}" for i in range(cond.shape[1])])
    positive = [[cond, {**options, **words.carried_words(cond, named)}]]
    graph = made.joint("flux2", positive=positive, record={"detail": "marginals and words"})
    out = run_graph(graph, give=made.give, watch={"maps": ("collect", 1)})
    found = out["maps"].words_of()
    assert (found[0].kind, found[0].tokens) == ("fill", 512 - cond.shape[1])
    assert [word.start for word in found[1:]] == [512 - cond.shape[1] + i for i in range(cond.shape[1])]


# --------------------------------------------------------------------------------- what cannot be known is said


@torch.no_grad()
def test_where_two_encoders_are_mixed_it_carries_no_words_and_says_why(
    pack: ModuleType, clips: dict[str, Any], watch: Any
) -> None:
    clip = watch(clips["flux"])
    encode = clip.cond_stage_model.encode_token_weights

    def mixed(tokens: Any) -> Any:
        out, pooled = encode(tokens)[:2]
        return out + 1, pooled

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clip.cond_stage_model, "encode_token_weights", mixed)
        words, why = said(pack, *encoded(clip))
    assert words == ()
    assert "not found in the conditioning" in why


@torch.no_grad()
def test_an_encoder_that_the_host_does_not_know_carries_none(pack: ModuleType, clips: dict[str, Any], watch: Any) -> None:
    clip = watch(clips["l"])
    clip.cond_stage_model = SimpleNamespace(
        named_modules=lambda: [], reset_clip_options=lambda: None, set_clip_options=lambda _o: None,
        encode_token_weights=lambda _t: (torch.randn(1, 3, 4), None),
    )  # fmt: skip
    words, why = said(pack, *encoded(clip))
    assert words == ()
    assert "none of those that ComfyUI itself builds" in why


@torch.no_grad()
def test_a_tokenizer_without_strings_carries_none(pack: ModuleType, clips: dict[str, Any], watch: Any) -> None:
    clip = watch(clips["l"])
    real = clip.tokenizer
    clip.tokenizer = SimpleNamespace(tokenize_with_weights=real.tokenize_with_weights)
    words, why = said(pack, *encoded(clip))
    assert words == ()
    assert "does not say what its tokens stand for" in why


@torch.no_grad()
def test_after_an_error_no_hook_stays(clips: dict[str, Any], watch: Any) -> None:
    clip = watch(clips["l"])
    with pytest.raises(KeyError):
        clip.encode_from_tokens_scheduled({"other": []})
    assert hooks(clip) == 0


@pytest.mark.parametrize(
    ("given", "match"), [(None, "this CLIP is None"), (SimpleNamespace(clone=1), "a SimpleNamespace without tokenize")]
)
def test_what_is_no_clip_is_refused(pack: ModuleType, watch: Any, given: Any, match: str) -> None:
    with pytest.raises(library(pack, "errors").I2AMError, match=match):
        watch(given)
