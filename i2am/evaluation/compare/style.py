"""How the page of a comparison looks: light and dark, on paper-wide and phone-wide screens."""

STYLE = """
:root {
  --ink: #1d2126; --quiet: #5c636d; --page: #f8f8f5; --surface: #ffffff; --line: #dcdcd6; --accent: #7a3ea8;
  --s0: #0072b2; --s1: #c04e00; --s2: #00805d; --s3: #a8467f; --s4: #946200; --s5: #4b56c0;
  --blue: 0 114 178; --red: 192 78 0;
  color-scheme: light dark;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ink: #e7e8ea; --quiet: #a2a9b3; --page: #14161a; --surface: #1d2026; --line: #363b44; --accent: #c79bea;
    --s0: #5ab4e6; --s1: #f08c4a; --s2: #3ccb9f; --s3: #e691c0; --s4: #e0b040; --s5: #a0a8ff;
    --blue: 90 180 230; --red: 240 140 74;
  }
}
* { box-sizing: border-box; }
html { background: var(--page); }
body {
  color: var(--ink); font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "DejaVu Sans", sans-serif;
  margin: 0 auto; max-width: 1200px; overflow-wrap: break-word; padding: 24px clamp(12px, 3vw, 32px) 48px;
}
h1 { font-size: 1.45rem; line-height: 1.25; margin: 0 0 4px; }
h2 { font-size: 1.15rem; margin: 36px 0 8px; }
h3 { font-size: 1rem; margin: 20px 0 6px; }
p, ul { margin: 6px 0; max-width: 90ch; }
.quiet, caption, figcaption, .wide small { color: var(--quiet); }
.answers { display: grid; gap: 10px; grid-template-columns: repeat(auto-fit, minmax(min(100%, 320px), 1fr)); }
.answer { background: var(--surface); border: 1px solid var(--line); border-radius: 8px; padding: 10px 14px; }
.answer h3 { margin: 0; }
.answer strong { color: var(--accent); font-size: 1.3rem; }
.notice { border-left: 4px solid var(--accent); padding-left: 12px; }
.wide { margin: 10px 0; overflow-x: auto; }
.wide:focus-visible, summary:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
table { background: var(--surface); border-collapse: collapse; font-variant-numeric: tabular-nums; }
caption { font-size: 0.87rem; max-width: 90ch; padding: 4px 0; text-align: left; }
th, td { border: 1px solid var(--line); padding: 4px 9px; text-align: right; vertical-align: top; white-space: nowrap; }
th[scope="row"], th.over { text-align: left; }
th[scope="row"] { background: var(--surface); left: 0; max-width: 46vw; position: sticky; white-space: normal; }
th.over { color: var(--quiet); font-weight: 500; white-space: normal; }
thead th { font-weight: 600; vertical-align: bottom; }
.wide small { display: block; font-size: 0.8rem; }
thead small { font-weight: 400; }
td.follows { box-shadow: inset 3px 0 rgb(var(--blue)); }
td.against { box-shadow: inset 3px 0 rgb(var(--red)); }
.charts { display: grid; gap: 14px; grid-template-columns: repeat(auto-fill, minmax(min(100%, 320px), 1fr)); }
figure { margin: 0; }
.charts svg { background: var(--surface); border: 1px solid var(--line); border-radius: 8px; display: block; width: 100%; }
svg text { fill: var(--quiet); font-size: 10.5px; }
svg text.axis { fill: var(--ink); font-size: 11.5px; }
svg .grid { fill: none; stroke: var(--line); stroke-width: 0.7; }
svg .points { fill-opacity: 0.45; }
svg .mean { stroke: var(--surface); stroke-width: 1.4; }
.s0 { fill: var(--s0); } .s1 { fill: var(--s1); } .s2 { fill: var(--s2); }
.s3 { fill: var(--s3); } .s4 { fill: var(--s4); } .s5 { fill: var(--s5); }
.key { display: flex; flex-wrap: wrap; gap: 4px 18px; list-style: none; padding: 0; }
.key svg { height: 16px; vertical-align: -3px; width: 16px; }
details { margin: 8px 0; }
summary { cursor: pointer; }
.examples { display: grid; gap: 8px; grid-template-columns: repeat(auto-fill, minmax(min(100%, 360px), 1fr)); }
.example { background: var(--surface); border: 1px solid var(--line); border-radius: 8px; padding: 4px 12px 10px; }
.pictures { display: flex; flex-wrap: wrap; gap: 8px; }
.pictures img { display: block; height: 150px; max-width: 100%; object-fit: contain; width: auto; }
.pictures figcaption { font-size: 0.8rem; }
@media (max-width: 480px) { .pictures img { height: 124px; } th, td { padding: 3px 6px; } }
@media print { .wide { overflow: visible; } }
"""
