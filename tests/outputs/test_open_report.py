"""What "Open report" shows of a page: its heading, the answer in words and the viewer's data, and nothing that could act."""

from __future__ import annotations

import json
import re
from pathlib import Path

from report_case import PICTURES, record
from viewer_case import dump, in_browser

from i2am.answers import answer
from i2am.outputs.report import write_report

SCRIPT = Path(__file__).parents[2] / "web" / "report.js"
DRIVER = """
const page = new DOMParser().parseFromString(PAGE, "text/html");
const into = document.implementation.createHTMLDocument("");
rebuild(into, page);
document.body.textContent = JSON.stringify({
  title: into.title,
  heading: into.querySelector("h1").textContent,
  answer: [...into.querySelectorAll(".i2am-answer > ul > li")].map((line) => line.textContent),
  folded: [...into.querySelectorAll(".i2am-answer details li")].map((line) => line.textContent),
  order: [...into.body.children].map((child) => child.localName),
  odd: into.querySelectorAll("img, iframe, [onerror], a").length,
});
"""


@in_browser
def test_the_answer_is_shown_as_text(tmp_path: Path) -> None:
    maps = record()
    said = answer(maps, PICTURES[0], PICTURES[1])
    report = write_report(tmp_path / "report.html", maps, *PICTURES, title="a <b>title</b>", said=said)
    page = report.read_text(encoding="utf-8").replace(
        '<section class="i2am-answer"><ul>', '<section class="i2am-answer"><ul><li><img src=x onerror=1>odd</li>'
    )
    script = SCRIPT.read_text(encoding="utf-8").replace(
        'import { app } from "../../scripts/app.js";', "const app = { registerExtension() {} };"
    )
    driver = DRIVER.replace("PAGE", json.dumps(page).replace("</", "<\\/"))
    test = tmp_path / "test.html"
    test.write_text(f'<meta charset="utf-8"><body><script type="module">{script}\n{driver}</script></body>', encoding="utf-8")
    found = re.search(r"<body>(\{.*\})\s*</body>", dump(test, tmp_path / "profile"), re.DOTALL)
    assert found is not None
    shown = json.loads(found[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&").replace("&nbsp;", " "))
    assert shown["title"] == shown["heading"] == "a <b>title</b>"
    assert shown["answer"] == ["odd", *said.sentences]
    assert shown["folded"] == [*said.rules, *said.missing]
    assert shown["order"][:3] == ["header", "section", "main"]
    assert shown["odd"] == 0
