"""The report as a page: one file, which needs no network.

The one rule: it shows what the JSON has, and says of each figure what it is.
"""

from collections.abc import Callable, Sequence
from html import escape

from .plots import COLOURS, Line, linear, logarithmic, plot, shares
from .report import Report, Result
from .run import Tick
from .screen import number, ratios, throughput
from .tally import FIGURES, MEANINGS

LIGHT = ("#0b62c4", "#c2410c", "#15803d", "#9333ea", "#b45309", "#0e7490", "#be185d", "#4d7c0f")
DARK = ("#6cb2ff", "#ff9a62", "#6ee7a0", "#d8a6ff", "#fbbf24", "#67e8f9", "#ff8ac4", "#bef264")
STYLE = """
:root{color-scheme:light dark;--bg:#fff;--fg:#1a1a1a;--dim:#5c5c5c;--rule:#e2e2e2;--bad:#b3261e;LIGHT}
@media(prefers-color-scheme:dark){:root{--bg:#16181c;--fg:#e8e8e8;--dim:#a0a4ab;--rule:#33373d;--bad:#ff8a80;DARK}}
body{margin:2rem auto;max-width:72rem;padding:0 1rem;background:var(--bg);color:var(--fg);
font:15px/1.5 system-ui,sans-serif}
h1{font-size:1.5rem;margin-bottom:.2rem}h2{font-size:1.15rem;margin-top:2.2rem}h3{font-size:1rem;margin:1.2rem 0 .2rem}
p{margin:.4rem 0}.dim,dd,caption{color:var(--dim)}.bad{color:var(--bad)}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;margin:.6rem 0}
th,td{padding:.25rem .8rem .25rem 0;border-bottom:1px solid var(--rule);text-align:right}
th:first-child,td:first-child{text-align:left}
th{font-weight:600}.wide{overflow-x:auto}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(30rem,100%),1fr));gap:1rem 2rem}
svg{width:100%;height:auto;display:block}svg text{fill:var(--dim);font:11px system-ui,sans-serif}
.grid{stroke:var(--rule)}polyline{fill:none;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}
.keys span{margin-right:1rem;white-space:nowrap;font-size:.85rem}
.keys i{display:inline-block;width:1rem;height:3px;vertical-align:middle;margin-right:.3rem}
dt{font-weight:600;margin-top:.5rem}dd{margin:0}
"""


def page(report: Report) -> str:
    """The whole file."""
    plan = report.plan
    asked = f"{plan.tokens} tokens at {plan.rate:g}/s" if plan.exact else f"what is said to {plan.message!r}"
    said = (
        f"{plan.connections} connections; answers of {asked}; {plan.think:g} s between them; {plan.interrupts:.0%} "
        f"stopped; {plan.drops:.0%} with a lost connection; {report.results[0].seconds if report.results else 0:.1f} s."
    )
    parts = [
        f"<h1>Load on {escape(report.url)}</h1>",
        f'<p class="dim">agent_ws {escape(report.agent_ws)}, {escape(report.made)}, {escape(report.machine)}</p>',
        f"<p>{escape(said)}</p>",
    ]
    if report.cut:
        parts.append('<p class="bad">It was ended early: the figures are of the time until then.</p>')
    parts += [f'<p class="bad">{escape(warning)}</p>' for warning in report.warnings]
    parts += [f"<p>{escape(note)}</p>" for note in report.notes]
    if report.results:
        parts += _server(report.results[0])
    if len(report.results) > 1:
        parts += _peers(report.results)
    if (ceiling := report.ceiling) is not None:
        parts.append("<h2>The generator</h2>")
        parts.append(
            f"<p>It takes {ceiling.us_token:.1f} µs of a processor for a token, measured against a server that does "
            f"nothing: at most {ceiling.tokens_s:,.0f} tokens a second with {report.workers} "
            f"process{'es' if report.workers > 1 else ''}. It was busy for at most "
            f"{max((r.busy for r in report.results), default=0.0):.0%} of a core.</p>"
        )
    parts.append("<h2>What the figures are</h2><dl>")
    parts += [f"<dt>{escape(FIGURES[figure])}</dt><dd>{escape(text)}</dd>" for figure, text in MEANINGS.items()]
    parts.append("</dl>")
    colours = "".join(f".c{i}{{stroke:var(--c{i});background:var(--c{i})}}" for i in range(COLOURS))
    style = STYLE.replace("LIGHT", _variables(LIGHT)).replace("DARK", _variables(DARK))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Load on {escape(report.url)}</title><style>{style}{colours}</style></head>"
        f"<body>{''.join(parts)}</body></html>\n"
    )


def _variables(colours: Sequence[str]) -> str:
    return "".join(f"--c{i}:{colour};" for i, colour in enumerate(colours))


def _server(result: Result) -> list[str]:
    curves: list[Line] = [
        (FIGURES[figure], times.curve) for figure, times in result.times.items() if figure not in ("connect", "own")
    ]
    heights = [ms for _, curve in curves for _, ms in curve if ms is not None]
    return [
        f"<h2>{escape(result.title)}</h2>",
        f'<div class="wide">{_table(result)}</div>',
        f"<p>{escape(throughput(result))}</p>",
        *(f'<p class="bad">{escape(what)}: {n:,} times</p>' for what, n in result.faults.items()),
        '<div class="plots">',
        _figure("How long it takes", plot(curves, shares("percentile"), logarithmic("ms", heights))),
        *_course(result.ticks),
        "</div>",
    ]


def _figure(title: str, picture: str) -> str:
    return f"<section><h3>{escape(title)}</h3>{picture}</section>"


def _course(ticks: list[Tick]) -> list[str]:
    """Second by second."""
    if not ticks:
        return []
    seconds = linear("seconds since the load began", [ticks[-1].at + 1])

    def line(name: str, of: Callable[[Tick], float | None], factor: float = 1.0) -> Line:
        return name, [(t.at, None if (value := of(t)) is None else value * factor) for t in ticks]

    def values(lines: list[Line]) -> list[float]:
        return [value for _, points in lines for _, value in points if value is not None]

    late = [
        line("first token, p99", lambda t: t.first_p99, 1000),
        line("token behind schedule, p50", lambda t: t.late_p50, 1000),
        line("token behind schedule, p99", lambda t: t.late_p99, 1000),
        line("interrupt to ack, p99", lambda t: t.stop_p99, 1000),
    ]
    late = [one for one in late if values([one])]
    tokens = [line("tokens", lambda t: t.tokens)]
    found = [
        _figure("Second by second", plot(late, seconds, logarithmic("ms", values(late)))),
        _figure("Throughput", plot(tokens, seconds, linear("tokens a second", values(tokens), "{:,g}".format))),
    ]
    cpu, rss = [line("processor", lambda t: t.cpu, 100)], [line("memory", lambda t: t.rss)]
    if values(cpu):
        found.append(_figure("The server's processor", plot(cpu, seconds, linear("% of a core", values(cpu)))))
        found.append(_figure("The server's memory", plot(rss, seconds, linear("MiB", values(rss), "{:,g}".format))))
    return found


def _peers(results: list[Result]) -> list[str]:
    parts = ["<h2>Beside its peers</h2><p>The server's figure as a part of its peer's: below 1 is better.</p>"]
    ours, *peers = results
    head = "".join(f"<th>{escape(peer.title)}</th>" for peer in peers)
    rows = "".join(
        f"<tr><td>{escape(name)}</td>"
        + "".join(f"<td>{'' if value is None else f'{value:.2f}'}</td>" for value in values)
        + "</tr>"
        for name, values in ratios(ours, peers)
    )
    parts.append(f'<div class="wide"><table><tr><th></th>{head}</tr>{rows}</table></div><div class="plots">')
    for figure in ("first", "late", "stop"):
        lines: list[Line] = [(r.title, r.times[figure].curve) for r in results if figure in r.times]
        heights = [ms for _, curve in lines for _, ms in curve if ms is not None]
        if len(lines) > 1:
            picture = plot(lines, shares("percentile"), logarithmic("ms", heights))
            parts.append(_figure(FIGURES[figure], picture))
    parts.append("</div>")
    for peer in peers:
        parts.append(f'<h3>{escape(peer.title)}</h3><div class="wide">{_table(peer)}</div>')
        parts.append(f"<p>{escape(throughput(peer))}</p>")
        parts += [f'<p class="bad">{escape(what)}: {n:,} times</p>' for what, n in peer.faults.items()]
    return parts


def _table(result: Result) -> str:
    rows = "".join(
        f"<tr><td>{escape(FIGURES[figure])}</td><td>{times.n:,}</td>"
        + "".join(f"<td>{number(value)}</td>" for value in (times.p50, times.p90, times.p99, times.max))
        + "</tr>"
        for figure, times in result.times.items()
    )
    return f"<table><tr><th>ms</th><th>n</th><th>p50</th><th>p90</th><th>p99</th><th>max</th></tr>{rows}</table>"
