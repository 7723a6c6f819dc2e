"""I2AM_SaveMaps, I2AM_LoadMaps and I2AM_Report in the host's own folders; no name leads out of them."""

from __future__ import annotations

import os
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import folder_paths
import pytest
import torch
from host_tests.boot import PACK
from host_tests.maps_case import GENERATED, LAYERS, REFERENCE, box, defaults, library, picture, planted
from host_tests.viewer_header import header_in
from safetensors.torch import save_file

OUTSIDE = ["../maps", "I2AM/../../maps", "/tmp/maps", "..\\..\\maps", "~/maps", "C:\\maps", "", "I2AM/", "a\0b"]


@pytest.fixture(scope="module")
def maps(pack: ModuleType) -> Any:
    return planted(pack)


@pytest.fixture
def output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty input and output folders for one test."""
    for name in ("input", "output"):
        (tmp_path / name).mkdir()
        monkeypatch.setattr(folder_paths, f"{name}_directory", str(tmp_path / name))
    return tmp_path / "output"


def save(run_graph: Any, maps: Any, prefix: str, **how: Any) -> Any:
    prompt = {"save": {"class_type": "I2AM_SaveMaps", "inputs": {"maps": ["give_maps", 0], "filename_prefix": prefix}}}
    return run_graph(prompt, give={"maps": maps}, watch={"maps": ("save", 0)}, **how)


def load(run_graph: Any, file: str, **how: Any) -> Any:
    return run_graph({"load": {"class_type": "I2AM_LoadMaps", "inputs": {"file": file}}}, watch={"maps": ("load", 0)}, **how)


def test_saved_maps_come_back_whole(run_graph: Any, pack_nodes: dict[str, Any], maps: Any, output: Path) -> None:
    out = save(run_graph, maps, "I2AM/shirt")
    assert out["maps"] is maps
    assert out.ui["save"]["text"][0].startswith("I2AM/shirt_00001_.safetensors\n")
    assert len(out.ui["save"]["images"]) == 1  # with the file's name
    assert (output / "I2AM" / "shirt_00001_.safetensors").is_file()
    listed = pack_nodes["I2AM_LoadMaps"].INPUT_TYPES()["required"]["file"][1]["options"]
    assert listed == ["I2AM/shirt_00001_.safetensors [output]"]
    back = load(run_graph, listed[0])["maps"]
    assert [x.name for x in back.layers] == list(LAYERS)
    for layer in LAYERS:
        assert torch.equal(back.pairwise(layer), maps.pairwise(layer))
        assert torch.equal(back.marginal("r2g", layer), maps.marginal("r2g", layer))


def test_every_save_is_a_file_of_its_own(run_graph: Any, pack: ModuleType, maps: Any, output: Path) -> None:
    save(run_graph, maps, "shirt")
    save(run_graph, planted(pack, images=1), "shirt")
    assert sorted(os.listdir(output)) == ["shirt_00001_.safetensors", "shirt_00002_.safetensors"]


def test_a_file_where_a_folder_should_be_is_told(run_graph: Any, maps: Any, output: Path) -> None:
    (output / "notes").touch()
    error = save(run_graph, maps, "notes/maps", expect_error=True).error
    assert "the folder of 'notes/maps' cannot be made in the output folder" in error.message
    assert "give another prefix" in error.message


@pytest.mark.parametrize("prefix", OUTSIDE)
def test_no_prefix_leads_out_of_the_output_folder(
    run_graph: Any, pack_nodes: dict[str, Any], maps: Any, output: Path, prefix: str
) -> None:
    before = set(output.parent.rglob("*"))
    error = save(run_graph, maps, prefix, expect_error=True).error
    assert "file name prefix" in error.message
    report = pack_nodes["I2AM_Report"]
    with pytest.raises(ValueError, match="file name prefix"):
        report.execute(**{**defaults(report), "maps": maps, "image": picture(GENERATED), "filename_prefix": prefix})
    assert set(output.parent.rglob("*")) == before


def test_only_our_files_are_listed(pack_nodes: dict[str, Any], maps: Any, output: Path) -> None:
    given = output.parent / "input"
    (given / "sub").mkdir()
    maps.save(given / "sub" / "mine.safetensors")
    save_file({"x": torch.zeros(3)}, given / "model.safetensors", {"format": "pt"})
    (given / "broken.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}")
    (given / "empty.safetensors").touch()
    (given / "picture.png").touch()
    maps.save(output.parent / "secret.safetensors")
    (given / "link.safetensors").symlink_to(output.parent / "secret.safetensors")
    listed = pack_nodes["I2AM_LoadMaps"].INPUT_TYPES()["required"]["file"][1]["options"]
    assert listed == ["sub/mine.safetensors"]


@pytest.mark.parametrize(
    "file",
    [
        "../secret.safetensors",
        "sub/../../secret.safetensors [output]",
        "{outside}/secret.safetensors",
        "..\\secret.safetensors",
        "link.safetensors [output]",
        "",
    ],
)
def test_no_name_reads_outside_of_the_folders(
    run_graph: Any, pack: ModuleType, pack_nodes: dict[str, Any], maps: Any, output: Path, file: str
) -> None:
    maps.save(output.parent / "secret.safetensors")
    (output / "link.safetensors").symlink_to(output.parent / "secret.safetensors")
    file = file.format(outside=output.parent)
    error = load(run_graph, file, expect_error=True).error
    assert error.kind == "validation"
    assert "leads out of its folder" in error.message
    with pytest.raises(library(pack, "errors").I2AMError, match="leads out of its folder"):
        pack_nodes["I2AM_LoadMaps"].execute(file=file)


def test_missing_and_foreign_files_are_refused_before_the_run(run_graph: Any, output: Path) -> None:
    save_file({"x": torch.zeros(3)}, output / "model.safetensors", {"format": "pt"})
    assert "there is no file 'gone.safetensors'" in load(run_graph, "gone.safetensors", expect_error=True).error.message
    error = load(run_graph, "model.safetensors [output]", expect_error=True).error
    assert error.kind == "validation"
    assert "not of I2AM maps" in error.message


def test_a_truncated_file_says_so(run_graph: Any, maps: Any, output: Path) -> None:
    whole = maps.save(output / "maps.safetensors").read_bytes()
    (output / "maps.safetensors").write_bytes(whole[:-100])
    error = load(run_graph, "maps.safetensors [output]", expect_error=True).error
    assert "maps.safetensors" in error.message


def test_a_changed_file_is_read_again(run_graph: Any, pack: ModuleType, maps: Any, output: Path) -> None:
    path = maps.save(output / "maps.safetensors")
    assert load(run_graph, "maps.safetensors [output]")["maps"].images == 2
    assert "load" in load(run_graph, "maps.safetensors [output]").cached
    planted(pack, images=1).save(path)
    again = load(run_graph, "maps.safetensors [output]")
    assert again["maps"].images == 1
    assert "load" in again.executed


@pytest.mark.parametrize("inode", ["the same", "another"])
def test_a_file_replaced_within_its_time_and_size_is_read_again(
    run_graph: Any, pack: ModuleType, maps: Any, output: Path, inode: str
) -> None:
    path = maps.save(output / "maps.safetensors")
    before = path.stat()
    first = load(run_graph, "maps.safetensors [output]")["maps"]
    assert "load" in load(run_graph, "maps.safetensors [output]").cached
    whole = path.read_bytes()
    other = whole.replace(b'\\"seed\\": null', b'\\"seed\\": 1234')
    assert len(other) == len(whole)
    assert other != whole
    if inode == "another":
        path.unlink()
    path.write_bytes(other)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    again = load(run_graph, "maps.safetensors [output]")
    assert "load" in again.executed
    assert (first.run.seed, again["maps"].run.seed) == (None, 1234)
    os.utime(path)  # the same content at another time need not be read again
    assert "load" in load(run_graph, "maps.safetensors [output]").cached


def test_a_name_from_another_node_is_read_at_every_run(run_graph: Any, pack: ModuleType, maps: Any, output: Path) -> None:
    def loaded() -> Any:
        prompt = {"load": {"class_type": "I2AM_LoadMaps", "inputs": {"file": ["give_name", 0]}}}
        return run_graph(prompt, give={"name": "maps.safetensors [output]"}, watch={"maps": ("load", 0)})["maps"]

    maps.save(output / "maps.safetensors")
    assert loaded().images == 2
    planted(pack, images=1).save(output / "maps.safetensors")
    assert loaded().images == 1


LONG = ["x" * 5000, "é" * 200, "a/" * 2000 + "b", "x/" + "y" * 300 + "/z"]
OTHER_TYPES = [5, None, ["a"], {"a": 1}, True, 1.5]


@pytest.mark.parametrize("name", LONG)
def test_long_names_are_refused_in_a_sentence(
    run_graph: Any, pack: ModuleType, pack_nodes: dict[str, Any], maps: Any, output: Path, name: str
) -> None:
    wrong = library(pack, "errors").I2AMError
    for file in (name + ".safetensors", name + ".safetensors [output]"):
        error = load(run_graph, file, expect_error=True).error
        assert error.kind == "validation"
        assert re.search(r"has \d+ characters|no file", error.message)
        for ask in ("execute", "fingerprint_inputs"):
            with pytest.raises(wrong, match=r"has \d+ characters|no file"):
                getattr(pack_nodes["I2AM_LoadMaps"], ask)(file=file)
    assert "file name prefix" in save(run_graph, maps, name, expect_error=True).error.message
    report = pack_nodes["I2AM_Report"]
    with pytest.raises(wrong, match=r"file name prefix .*has [0-9]+ characters") as caught:
        report.execute(**{**defaults(report), "maps": maps, "image": picture(GENERATED), "filename_prefix": name})
    assert len(str(caught.value)) < 300
    assert list(output.rglob("*")) == []


def test_a_name_of_200_bytes_is_saved(run_graph: Any, maps: Any, output: Path) -> None:
    save(run_graph, maps, "é" * 100)
    assert [path.stat().st_size > 1000 for path in output.iterdir()] == [True]


@pytest.mark.parametrize("name", OTHER_TYPES)
def test_names_of_another_type_are_refused_in_a_sentence(
    pack: ModuleType, pack_nodes: dict[str, Any], maps: Any, output: Path, name: Any
) -> None:
    wrong = library(pack, "errors").I2AMError
    with pytest.raises(wrong, match=f"file name must be text, got a {type(name).__name__}"):
        pack_nodes["I2AM_LoadMaps"].execute(file=name)
    if name is not None:
        assert "must be text" in pack_nodes["I2AM_LoadMaps"].validate_inputs(file=name)
    with pytest.raises(wrong, match="prefix must be text"):
        pack_nodes["I2AM_SaveMaps"].execute(maps=maps, filename_prefix=name)
    report = pack_nodes["I2AM_Report"]
    given = {**defaults(report), "maps": maps, "image": picture(GENERATED)}
    with pytest.raises(wrong, match="prefix must be text"):
        report.execute(**{**given, "filename_prefix": name})
    report.execute(**{**given, "title": name})
    assert [path.suffix for path in (output / "I2AM").iterdir()] == [".html"]


def test_a_files_header_is_enough_to_refuse_it_before_the_run(run_graph: Any, maps: Any, output: Path) -> None:
    path = maps.save(output / "maps.safetensors")
    path.write_bytes(path.read_bytes().replace(b'\\"heads\\": 2,', b'\\"heads\\": 9,'))
    error = load(run_graph, "maps.safetensors [output]", expect_error=True).error
    assert error.kind == "validation"
    assert re.search(r"damaged \(the tensor '.*' is .*, expected .*\(2, 4, 9, 80\)", error.message)


def report(run_graph: Any, pack_nodes: dict[str, Any], maps: Any, **inputs: Any) -> tuple[str, str, Any]:
    give = {"maps": maps, **{k: v for k, v in inputs.items() if not isinstance(v, str | int)}}
    plain = {k: v for k, v in inputs.items() if k not in give}
    links = {name: [f"give_{name}", 0] for name in give}
    prompt = {"page": {"class_type": "I2AM_Report", "inputs": {**defaults(pack_nodes["I2AM_Report"]), **plain, **links}}}
    out = run_graph(prompt, give=give, watch={"path": ("page", 0)})
    return out["path"], out.ui["page"]["text"][0], out


def test_a_report_is_one_page_with_its_scores(
    run_graph: Any, pack_nodes: dict[str, Any], pack: ModuleType, maps: Any, output: Path
) -> None:
    masks = {"inpaint_mask": box(GENERATED, 0, 0, 1, 0.5), "reference_mask": box(REFERENCE, 0, 0, 1, 0.5)}
    name, text, out = report(
        run_graph,
        pack_nodes,
        maps,
        image=picture(GENERATED),
        reference_image=picture(REFERENCE),
        title="My <shirt>",
        batch_index=1,
        **masks,
    )
    assert name == "I2AM/report_00001_.html"
    page = (output / name).read_text(encoding="utf-8")
    assert "<title>My &lt;shirt&gt;</title>" in page
    data = header_in(page)
    expected = library(pack, "scores.imacs").imacs_pair(
        maps, masks["inpaint_mask"][0], masks["reference_mask"][0], library(pack, "levels.choice").Choice(image=1)
    )
    assert data["scores"]["imacs"]["default"]["r"]["score"] == expected["r"].score
    assert data["run"]["image"] == "2 of 2"
    assert len(data["references"]) == 1
    assert data["references"][0]["width"] == REFERENCE[1]
    assert text.startswith(f"{name}\n{len(page.encode()) / 1e6:.1f} MB in ComfyUI's output folder")
    assert out.ui["page"]["i2am_report"] == [{"filename": "report_00001_.html", "subfolder": "I2AM", "type": "output"}]
    assert len(out.ui["page"]["images"]) == 1  # the host draws it on the node, with or without our scripts


def test_a_report_compares_two_runs(run_graph: Any, pack_nodes: dict[str, Any], pack: ModuleType, output: Path) -> None:
    first, second = planted(pack), planted(pack, mask=box(REFERENCE, 0, 0, 1, 0.5))
    given = {"image": picture(GENERATED), "maps_2": second, "image_2": picture(GENERATED)}
    name, _, _ = report(run_graph, pack_nodes, first, **given, batch_index=1)
    data = header_in((output / name).read_text(encoding="utf-8"))
    assert data["second"]["name"] == "second"
    assert len(data["second"]["pairwise"]) == len(data["pairwise"]) > 0


def test_the_page_is_started_as_its_button_in_comfyui_starts_it() -> None:
    script = (PACK / "web" / "report.js").read_text(encoding="utf-8")
    page = (PACK / "i2am" / "outputs" / "page.py").read_text(encoding="utf-8")
    call = 'startPage(document.getElementById("viewer"), document.getElementById("data"));'
    assert call in script
    assert call in page
    (held,) = re.findall(r'<script type="([^"]+)" id="data">', page)
    assert f'"{held}"' in script


def test_a_report_without_a_reference_picture_has_grey(
    run_graph: Any, pack_nodes: dict[str, Any], maps: Any, output: Path
) -> None:
    name, _, _ = report(run_graph, pack_nodes, maps, image=picture(GENERATED), filename_prefix="page")
    assert name == "page_00001_.html"
    assert (output / name).stat().st_size > 10_000


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"image": torch.zeros(3, *GENERATED, 3)}, ["3 pictures", "2 image(s)"]),
        ({"image": torch.zeros(1, 40, 90, 3)}, ["90 x 40", "64 x 80"]),
        ({"reference_image": torch.zeros(2, *REFERENCE, 3)}, ["2 reference pictures", "1 reference(s)"]),
        ({"batch_index": 2}, ["image 2", "had 2"]),
    ],
)
def test_what_cannot_be_meant_is_said(
    pack: ModuleType, pack_nodes: dict[str, Any], maps: Any, output: Path, inputs: dict[str, Any], words: list[str]
) -> None:
    node = pack_nodes["I2AM_Report"]
    with pytest.raises(library(pack, "errors").I2AMError) as caught:
        node.execute(**{**defaults(node), "maps": maps, "image": picture(GENERATED), **inputs})
    assert [word for word in words if word not in str(caught.value)] == []
    assert list(output.rglob("*.html")) == []
