"""What a reader with other eyes needs: contrast of every colour, labels, headers, one order of headings.

`test_axe_finds_nothing` asks axe-core in Chromium; it needs node with the packages `axe-core` and `ws`
(SEARCHITECT_AXE names a folder whose node_modules has them) and a `chromium` in the path.
"""

import json
import os
import re
import shutil
import subprocess
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

import pytest
import report_fakes as fakes
from report_html import Page
from test_report_contest import FINALISTS, TOGETHER, about
from test_report_lineage import FAMILY

from searchitect.report import page

CSS = (files("searchitect.report") / "templates" / "report.css").read_text(encoding="utf-8")
TEXT, LINES = 4.5, 3.0  # WCAG 2.2, 1.4.3 and 1.4.11, level AA
SCHEMES = {"light": 0, "dark": 1, "print": 2}
AXE = Path(os.environ.get("SEARCHITECT_AXE", "/nowhere"))


def luminance(colour):
    """Relative luminance of "#rrggbb" (WCAG 2.2)."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def palette(scheme):
    block = re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)[SCHEMES[scheme]]
    found = dict(re.findall(r"--([\w]+): (#[0-9a-f]{3,6})", block))
    return {name: v if len(v) == 7 else "#" + "".join(2 * c for c in v[1:]) for name, v in found.items()}


def test_contrast_is_that_of_the_standards_examples():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.005)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_text_and_line_is_told_from_what_is_behind_it(scheme):
    colours = palette(scheme)
    grounds = ("paper", "card", "code")
    for ground in grounds:
        for name in ("ink", "soft"):
            assert contrast(colours[name], colours[ground]) >= TEXT, (name, ground)
        for name in ("s1", "s2", "s3", "s4", "s5", "s6"):
            assert contrast(colours[name], colours[ground]) >= LINES, (name, ground)
    for name in ("good", "bad", "wait"):
        assert contrast(colours[name], colours["card"]) >= TEXT, name


def full():
    """A study that has everything the page can show."""
    made = about(**TOGETHER, finalists=FINALISTS, objectives=["accuracy", "min params"])
    made["winner"] |= {"trial": 5}
    made["comparisons"] = TOGETHER["comparisons"] | {"control": TOGETHER["comparisons"]["alone"]}
    trials = [*FAMILY, *fakes.many(40)[len(FAMILY) :]]
    return page.render(fakes.snapshot(made, trials))


def test_what_a_screen_reader_hears():
    found = Page(full())
    assert found.faults == []
    assert all(figure.get("aria-label") for figure in found.named("svg") if figure.get("role") == "img")
    assert all(figure.get("role") == "img" or figure.get("aria-hidden") for figure in found.named("svg"))
    assert all(head.get("scope") == "col" for head in found.named("th"))
    assert not re.search(r"<th[^>]*>\s*</th>", full()), "every column has a name"
    regions = [e for _, e in found.elements if e.get("role") == "region"]
    labels = [e.get("aria-label") for e in regions]
    assert all(labels)
    assert len(set(labels)) == len(labels), "regions are told apart by their names"
    headings = [int(name[1]) for name, _ in found.elements if re.fullmatch(r"h[1-6]", name)]
    assert headings[0] == 1
    assert headings.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(headings)), "none is skipped"
    assert all("tabindex" in e for _, e in found.elements if "scroll" in (e.get("class") or "").split())
    ids = [e["id"] for _, e in found.elements if "id" in e]
    assert len(set(ids)) == len(ids)


ASK = """
import { spawn } from "node:child_process"; import fs from "node:fs"; import { createRequire } from "node:module";
const [page, folder, chromium] = process.argv.slice(2); const load = createRequire(folder + "/x.js");
const axe = fs.readFileSync(load.resolve("axe-core/axe.min.js"), "utf8"); const WebSocket = load("ws");
const child = spawn(chromium, ["--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0",
  "--user-data-dir=" + page + ".profile", "about:blank"]);
const address = await new Promise((done) => child.stderr.on("data", (text) => {
  const found = /ws:\\/\\/([^/]+)\\//.exec(text); if (found) { done(found[1]); } }));
const pages = await (await fetch("http://" + address + "/json")).json();
const socket = new WebSocket(pages.find((one) => one.type === "page").webSocketDebuggerUrl);
await new Promise((done) => { socket.onopen = done; });
let last = 0; const waiting = new Map();
socket.onmessage = (message) => {
  const data = JSON.parse(message.data.toString()); waiting.get(data.id)?.(data.result); };
const send = (method, params = {}) => new Promise((done) => { waiting.set(++last, done);
  socket.send(JSON.stringify({ id: last, method, params })); });
const run = (expression) => send("Runtime.evaluate", { expression, awaitPromise: true, returnByValue: true });
await send("Page.enable"); await send("Page.setBypassCSP", { enabled: true }); const found = [];
for (const width of [1280, 375]) for (const value of ["light", "dark"]) {
  await send("Emulation.setDeviceMetricsOverride", { width, height: 900, deviceScaleFactor: 1, mobile: width < 500 });
  await send("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value }] });
  await send("Page.navigate", { url: "file://" + page }); await new Promise((done) => setTimeout(done, 1000));
  await run('document.querySelectorAll("details").forEach((one) => { one.open = true; })'); await run(axe);
  const answer = await run('axe.run().then((r) => JSON.stringify({ violations: r.violations.map((v) => v.id + ": " +' +
    ' v.nodes[0].html), passes: r.passes.length, wide: document.documentElement.scrollWidth - window.innerWidth }))');
  found.push(JSON.parse(answer.result.value)); }
console.log(JSON.stringify(found)); child.kill(); process.exit(0);
"""


@pytest.mark.slow
@pytest.mark.skipif(
    not (shutil.which("node") and shutil.which("chromium") and (AXE / "node_modules" / "axe-core").is_dir()),
    reason="node, chromium or the folder SEARCHITECT_AXE with axe-core and ws is not there",
)
def test_axe_finds_nothing(tmp_path):
    (tmp_path / "report.html").write_text(full(), encoding="utf-8")
    (tmp_path / "ask.mjs").write_text(ASK, encoding="utf-8")
    command = ["node", str(tmp_path / "ask.mjs"), str(tmp_path / "report.html"), str(AXE), shutil.which("chromium")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found) == 4
    for one in found:
        assert one["violations"] == []
        assert one["passes"] > 30
        assert one["wide"] <= 0, "nothing is wider than the screen"
