namespace ScratchMamba.Reports;

/// <summary>The style of a report: light, dark (by <c>prefers-color-scheme</c>) and print. Charts name their colours by its classes.</summary>
public static class ReportStyle
{
    // The colours c0 … c7 are apart for those who do not see red and green apart too (after Okabe and Ito, 2008), and have a contrast of at least 3 to the background.
    // q0 … q7 are a ramp from little to much contrast.
    private const string Light = """
          --page: #ffffff; --ink: #1c1e21; --soft: #5b6169; --hair: #e4e6e9; --rule: #9aa0a6; --card: #f6f7f8; --good: #17713f; --bad: #b3261e;
          --c0: #0072b2; --c1: #d55e00; --c2: #008060; --c3: #b5538c; --c4: #a87900; --c5: #3b93c8; --c6: #6f56b3; --c7: #54585e;
          --q0: #9dc3e0; --q1: #7fb0d6; --q2: #5f9bca; --q3: #4385bb; --q4: #2b6ea8; --q5: #1b5890; --q6: #104377; --q7: #082e5c;
        """;

    private const string Dark = """
          --page: #15171a; --ink: #e8eaed; --soft: #a3a9b1; --hair: #2d3136; --rule: #70767d; --card: #1d2024; --good: #6fd19b; --bad: #ff9389;
          --c0: #52a9e0; --c1: #ff8f4d; --c2: #3fc79a; --c3: #e592c0; --c4: #e8b341; --c5: #9ad2f5; --c6: #b39ee8; --c7: #b9bec5;
          --q0: #2f5478; --q1: #38658f; --q2: #4377a6; --q3: #5189bb; --q4: #659dcd; --q5: #7fb2dc; --q6: #9fc8e9; --q7: #c4dff5;
        """;

    // No character that XML would write as an entity.
    private const string Rules = """
        * { box-sizing: border-box; }
        body { margin: 0 auto; padding: 40px 24px 80px; max-width: 840px; background: var(--page); color: var(--ink); font: 16px/1.5 Charter, "Bitstream Charter", Cambria, Georgia, serif; }
        h1 { font-size: 30px; line-height: 1.2; margin: 0 0 6px; letter-spacing: -0.01em; }
        h2 { font-size: 22px; margin: 52px 0 8px; padding-top: 14px; border-top: 1px solid var(--hair); }
        h3 { font-size: 16.5px; margin: 0 0 6px; }
        p { margin: 8px 0; }
        .lead { color: var(--soft); margin-bottom: 20px; }
        figure { margin: 30px 0 38px; break-inside: avoid; }
        figcaption { font-size: 15px; margin-top: 4px; }
        .facts { font: 12px/1.55 ui-sans-serif, system-ui, "Segoe UI", Helvetica, Arial, sans-serif; color: var(--soft); margin-top: 6px; }
        code { font: 0.92em/1.5 ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; overflow-wrap: anywhere; }
        pre { margin: 6px 0 18px; padding: 10px 12px; background: var(--card); font: 13px/1.5 ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; white-space: pre-wrap; overflow-wrap: anywhere; break-inside: avoid; }
        table { border-collapse: collapse; width: 100%; margin: 14px 0; font: 13.5px/1.45 ui-sans-serif, system-ui, "Segoe UI", Helvetica, Arial, sans-serif; break-inside: auto; }
        th { text-align: left; font-weight: 600; color: var(--soft); border-bottom: 1px solid var(--rule); padding: 5px 12px 5px 0; vertical-align: bottom; }
        tbody th { border-bottom-color: var(--hair); white-space: nowrap; width: 1%; }
        td { border-bottom: 1px solid var(--hair); padding: 6px 12px 6px 0; vertical-align: top; font-variant-numeric: tabular-nums; }
        tr { break-inside: avoid; }
        .number { text-align: right; white-space: nowrap; }
        .holds { color: var(--good); font-weight: 600; white-space: nowrap; }
        .fails { color: var(--bad); font-weight: 600; white-space: nowrap; }
        .open { color: var(--soft); font-weight: 600; white-space: nowrap; }
        svg { display: block; width: 100%; height: auto; font: 12px ui-sans-serif, system-ui, "Segoe UI", Helvetica, Arial, sans-serif; }
        svg text { fill: var(--ink); }
        svg .tick { fill: var(--soft); font-size: 11.5px; }
        svg .label { font-size: 12.5px; }
        svg .note { fill: var(--soft); font-size: 11.5px; font-style: italic; }
        svg .cell-dark { fill: #14181c; font-size: 11px; }
        svg .cell-light { fill: #f4f6f8; font-size: 11px; }
        svg line, svg path { fill: none; vector-effect: non-scaling-stroke; }
        svg .grid { stroke: var(--hair); }
        svg .axis { stroke: var(--rule); }
        svg .guide { stroke: var(--rule); stroke-dasharray: 4 3; }
        svg .guide.strong { stroke: var(--ink); }
        svg .line { stroke: var(--color); stroke-width: 2; stroke-linejoin: round; }
        svg .thin { stroke-width: 1.25; }
        svg .dashed { stroke-dasharray: 5 3; }
        svg .band { fill: var(--color); fill-opacity: 0.16; }
        svg .dot { fill: var(--color); stroke: var(--page); stroke-width: 1; }
        svg .bar { fill: var(--color); fill-opacity: 0.62; }
        """;

    private const string Print = """
        @media print { body { padding: 0; max-width: none; font-size: 11pt; } h2 { break-after: avoid; } }
        """;

    /// <summary>The style sheet.</summary>
    public static string Sheet { get; } = string.Join(
        '\n',
        ":root {", "  color-scheme: light dark;", Light, "}",
        "@media (prefers-color-scheme: dark) { :root {", Dark, "} }",
        // Paper is white, whatever the screen is.
        "@media print { :root {", Light, "} }",
        Rules,
        string.Join('\n', Enumerable.Range(0, 8).Select(i => $"svg .c{i} {{ --color: var(--c{i}); }} svg .q{i} {{ --color: var(--q{i}); }}")),
        Print,
        "");
}
