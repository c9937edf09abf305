"""The looks of the page: light, dark and in print. Text has a contrast of at least 4.5 to what is behind it."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["DARK", "LIGHT", "style_sheet"]

LIGHT: Mapping[str, str] = {
    "bg": "#ffffff",
    "panel": "#f5f6f8",
    "ink": "#15181e",
    "muted": "#59616e",
    "line": "#d8dce3",
    "accent": "#1c56c4",
    "good": "#136c3c",
    "bad": "#b02a22",
    "f-float": "#8d95a1",
    "f-int8": "#86aee8",
    "f-nuq32": "#3d77d6",
    "f-nuq16": "#173f8f",
}
DARK: Mapping[str, str] = {
    "bg": "#14161b",
    "panel": "#1d2027",
    "ink": "#e9ebef",
    "muted": "#a4acb9",
    "line": "#363b46",
    "accent": "#83aeff",
    "good": "#5fce90",
    "bad": "#ff8f85",
    "f-float": "#79818e",
    "f-int8": "#3c5f9e",
    "f-nuq32": "#5f92e6",
    "f-nuq16": "#b3cdff",
}

_RULES = """
*{box-sizing:border-box}
html{color-scheme:light dark;-webkit-text-size-adjust:100%}
body{margin:0;background:var(--bg);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;font-variant-numeric:tabular-nums}
main{max-width:1140px;margin:0 auto;padding:40px 24px 64px}
h1{font-size:30px;line-height:1.15;letter-spacing:-.02em;margin:2px 0 10px;overflow-wrap:anywhere}
h2{font-size:19px;letter-spacing:-.01em;margin:52px 0 4px}
h3{font-size:15px;margin:0}
p{margin:0}
.k{font-size:13px;color:var(--muted)}
.v{font-size:19px;line-height:1.4;max-width:52em;text-wrap:pretty}
.n{color:var(--muted);max-width:72ch;margin:0 0 14px;text-wrap:pretty}
b.ok{color:var(--good)}b.no{color:var(--bad)}b.hi{color:var(--accent)}
b{font-weight:600}
.c{display:grid;grid-template-columns:repeat(4,1fr);gap:1px;background:var(--line);border:1px solid var(--line);border-radius:10px;
overflow:hidden;margin:26px 0 0}
.c div{background:var(--bg);padding:14px 16px}
.c dt{font-size:13px;color:var(--muted)}
.c dd{margin:0;font-size:25px;line-height:1.25;font-weight:600;letter-spacing:-.02em;white-space:nowrap}
.c small{display:block;font-size:13px;font-weight:400;letter-spacing:0;color:var(--muted);white-space:normal}
.g{display:grid;grid-template-columns:1fr 1fr;gap:36px 32px;margin:20px 0 0}
figure{margin:0;min-width:0}
figcaption{margin:0 0 6px}
figcaption p{font-size:13px;color:var(--muted)}
svg{display:block;width:100%;height:auto;overflow:visible}
svg text{font-size:12px;fill:var(--muted)}
svg .b{fill:var(--ink);font-weight:600}
svg .h{paint-order:stroke;stroke:var(--bg);stroke-width:4px;stroke-linejoin:round}
.ax{stroke:var(--line);fill:none}
.key{display:flex;flex-wrap:wrap;gap:2px 16px;font-size:13px;color:var(--muted);margin:8px 0 0;padding:0;list-style:none}
.key i{display:inline-block;width:11px;height:11px;border-radius:2px;margin-right:6px;vertical-align:-1px}
.w{overflow-x:auto;margin:0 -24px;padding:0 24px}
table{border-collapse:separate;border-spacing:0;width:100%;font-size:13.5px;line-height:1.35}
th,td{text-align:right;padding:6px 0 6px 16px;border-bottom:1px solid var(--line);white-space:nowrap;vertical-align:middle}
th{font-weight:600;font-size:12.5px;color:var(--muted);vertical-align:bottom}
td:first-child,th:first-child{padding-left:0}
:is(.q,.L,.E,.T) :is(td,th):first-child,.L :is(td,th):is(:nth-child(2),:nth-child(4)),.E :is(td,th):nth-child(2),.T :is(td,
th):is(:nth-child(2),:nth-child(7),:nth-child(8)),.q :is(td,th):nth-child(4){text-align:left}
.t td:first-child{position:sticky;left:0;background:var(--bg) padding-box;max-width:250px;overflow:hidden;text-overflow:ellipsis}
.T td:nth-child(2){white-space:normal;min-width:15em}.T td:nth-child(8){font:12px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
.ok td:nth-child(7){color:var(--good)}.no td:nth-child(7){color:var(--bad)}
tr.r td{font-weight:600}
tr.r td:first-child{box-shadow:-8px 0 0 -5px var(--accent)}
th button{font:inherit;color:inherit;background:none;border:0;padding:0;cursor:pointer;text-align:inherit}
th button:hover,th[aria-sort] button{color:var(--ink)}
th[aria-sort=ascending] button:after{content:" ↑"}th[aria-sort=descending] button:after{content:" ↓"}
.m:before,.L td:nth-child(8):before{content:"";display:inline-block;width:64px;height:9px;border-radius:2px;
background:linear-gradient(to right,var(--f) var(--w),var(--line) 0);margin-right:8px}
.L{--p:160}.L svg{width:calc(var(--p)*1px);height:34px;margin-left:auto}.L path{fill:var(--f);transform:scale(calc(var(--p)/var(--n)),.42)}
.L span{color:var(--f);letter-spacing:-.5px}.L line{stroke:var(--ink);stroke-width:6;transform:translateY(31px) scale(calc(var(--p)/256),1)}
.f-float{--f:var(--f-float)}.f-int8{--f:var(--f-int8)}.f-nuq32{--f:var(--f-nuq32)}.f-nuq16{--f:var(--f-nuq16)}
svg path[class^=f-]{fill:var(--f)}
.W{stroke:var(--accent);stroke-width:1.5;fill:none}.A,.B{r:4px}.R{r:8px}.A{fill:var(--good)}.B{fill:var(--accent)}.R{fill:transparent;stroke:var(--accent);stroke-width:2}.X{fill:none;
stroke:var(--bad);stroke-width:1.8;pointer-events:bounding-box}
dl.d{display:grid;grid-template-columns:max-content 1fr;gap:5px 20px;margin:14px 0 0;font-size:14px}
dl.d dt{color:var(--muted)}dl.d dd{margin:0;overflow-wrap:anywhere}
code,pre{font:13px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
pre{background:var(--panel);border-radius:8px;padding:12px 14px;margin:12px 0 0;white-space:pre-wrap;overflow-wrap:anywhere}
ul.o{margin:10px 0 0;padding-left:20px;max-width:76ch}
.q :is(th,td):not(:first-child){padding-left:12px}
.p{max-width:100%;border-radius:8px;display:block;margin:14px 0 0;image-rendering:auto}
#tip{position:fixed;z-index:9;pointer-events:none;max-width:320px;padding:6px 10px;border-radius:6px;background:var(--ink);color:var(--bg);
font-size:13px;line-height:1.4;white-space:pre-line}
@media (max-width:760px){main{padding:24px 16px 48px}.g{grid-template-columns:1fr}.c{grid-template-columns:1fr 1fr}.w{margin:0 -16px;
padding:0 16px}h1{font-size:25px}.v{font-size:17px}.c dd{font-size:21px}svg text{font-size:14px}.q .m:before{display:none}
dl.d{grid-template-columns:1fr;gap:0}dl.d dd{margin:0 0 8px}.t td:first-child{max-width:150px}}
@media print{main{max-width:none;padding:0}body{font-size:10pt}h2{margin-top:28px;break-after:avoid}figure,tr,.c,pre{break-inside:avoid}
.w{overflow:visible;margin:0;padding:0}table{font-size:8pt}th,td{padding:3px 0 3px 8px}th{font-size:8pt}
.c{grid-template-columns:repeat(4,1fr)}.g{grid-template-columns:1fr 1fr;gap:24px}.t td:first-child{position:static;white-space:normal;
overflow-wrap:anywhere}svg text{font-size:14px}.L{--p:104}.T td:nth-child(2){min-width:0}*{-webkit-print-color-adjust:exact;
print-color-adjust:exact}}
@page{margin:14mm}
"""


def style_sheet() -> str:
    """Returns the style sheet; print is always light."""
    return (
        f":root{{{_variables(LIGHT)}}}"
        f"@media screen and (prefers-color-scheme:dark){{:root{{{_variables(DARK)}}}}}" + _RULES.replace("\n", "")
    )


def _variables(colours: Mapping[str, str]) -> str:
    return ";".join(f"--{name}:{value}" for name, value in colours.items())
