// Gains per task of a chosen candidate, and Delta_m of all candidates.

const verdictStyles = (palette) =>
  Object.fromEntries(Object.entries(VERDICTS).map(([key, verdict]) => [key, { ...verdict, colour: palette.named(key) }]));

const gainsOf = () => report.gains[valueOf("gains-candidate", report.focus)] ?? [];
const byGain = (rows) => [...rows].sort((first, second) => (second.mean ?? -Infinity) - (first.mean ?? -Infinity));
const verdictText = (row) => {
  const flag = row.flag === "suspected" ? "negative transfer suspected" : row.flag;
  const word = VERDICTS[row.verdict]?.word ?? row.verdict;
  return flag ? `${word} (${flag})` : word;
};
const gainHover = (row) =>
  `<b>${plain(report.tasks[row.task])}</b><br>${verdictText(row)}: ${gain(row.mean)}<br>95 %: ${interval(row.low, row.high)}`;

// With many tasks the figure names the ten highest and the ten lowest; the figure above it shows all, unnamed.
const NAMED = 10;
const namedGains = () => {
  const rows = valueOf("gains-order", "gain") === "gain" ? byGain(gainsOf()) : gainsOf();
  if (rows.length <= report.many) return { rows };
  const sorted = byGain(gainsOf()).filter((row) => isNumber(row.mean));
  const hidden = sorted.length - 2 * NAMED;
  if (hidden <= 0) return { rows: sorted };
  const text = `${hidden} task${hidden === 1 ? "" : "s"} in between`;
  return { rows: [...sorted.slice(0, NAMED), ...sorted.slice(-NAMED)], gap: { after: NAMED, text } };
};

addFigure("plot-gains", (width, palette) => {
  const { rows, gap } = namedGains();
  if (!rows.length) return null;
  const entries = rows.map((row) => ({ ...row, label: report.tasks[row.task], style: row.verdict, hover: gainHover(row) }));
  return intervalFigure(entries, verdictStyles(palette), width, palette, { title: "gain over single-task networks", written: gain, gap });
});

addFigure("plot-gains-all", (width, palette) => {
  const rows = byGain(gainsOf()).filter((row) => isNumber(row.mean)).map((row, position) => ({ ...row, position: position + 1 }));
  const data = Object.entries(verdictStyles(palette)).flatMap(([key, style]) => {
    const chosen = rows.filter((row) => row.verdict === key);
    if (!chosen.length) return [];
    return [{
      type: "scatter",
      mode: "markers",
      name: `${style.word} (${chosen.length})`,
      x: chosen.map((row) => row.position),
      y: chosen.map((row) => row.mean),
      text: chosen.map(gainHover),
      hovertemplate: "%{text}<extra></extra>",
      marker: { symbol: style.marker, size: width < 560 ? 5 : 7, color: style.colour },
      error_y: {
        type: "data",
        symmetric: false,
        array: chosen.map((row) => (isNumber(row.high) ? row.high - row.mean : 0)),
        arrayminus: chosen.map((row) => (isNumber(row.low) ? row.mean - row.low : 0)),
        color: style.colour,
        thickness: 1,
        width: 0,
      },
    }];
  });
  return {
    data,
    layout: layoutOf(palette, width, {
      height: 360,
      margin: { l: 8, r: 12, t: 56, b: 48 },
      showlegend: true,
      xaxis: { title: { text: `the ${rows.length} tasks, largest gain first`, standoff: 10, font: { size: 12.5 } }, showgrid: false, range: [0, rows.length + 1] },
      yaxis: { title: { text: "gain (above 0: multi-task better)", font: { size: 12.5 } }, ticksuffix: report.relative ? " %" : "" },
      shapes: [
        { type: "rect", xref: "paper", yref: "y", x0: 0, x1: 1, y0: -report.margin, y1: report.margin, fillcolor: palette.band, line: { width: 0 }, layer: "below" },
        { type: "line", xref: "paper", yref: "y", x0: 0, x1: 1, y0: 0, y1: 0, line: { color: palette.text, width: 1.4 }, layer: "between" },
      ],
    }),
  };
});

const FAMILIES = {
  joint: { word: "multi-task", marker: "circle", series: 0 },
  pooled: { word: "pooled", marker: "square", series: 3 },
  baseline: { word: "baseline", marker: "diamond", series: 4 },
  single: { word: "one network per task", marker: "cross", series: 7 },
};

addFigure("plot-candidates", (width, palette) => {
  const rows = report.candidates
    .filter((candidate) => candidate.name !== report.reference && isNumber(candidate.delta[0]))
    .map((candidate) => ({
      label: candidate.title,
      mean: candidate.delta[0],
      low: candidate.delta[1],
      high: candidate.delta[2],
      seeds: candidate.seeds,
      style: candidate.family in FAMILIES ? candidate.family : "joint",
      hover: `<b>${plain(candidate.title)}</b><br>Δm: ${percent(candidate.delta[0])}<br>95 %: ${interval(candidate.delta[1], candidate.delta[2], percent)}`,
    }));
  if (!rows.length) return null;
  const styles = Object.fromEntries(
    Object.entries(FAMILIES).map(([key, family]) => [key, { ...family, colour: palette.series(family.series) }]),
  );
  return intervalFigure(rows, styles, width, palette, { title: "Δm, mean gain over the tasks", written: percent });
});

const fillGains = () => {
  const table = element("table-gains");
  if (!table) return;
  fillTable(
    table,
    gainsOf().map((row) => [
      { text: report.tasks[row.task], value: report.tasks[row.task].toLowerCase() },
      { text: verdictText(row), value: verdictText(row), symbol: row.verdict, note: row.note },
      { text: gain(row.mean), value: row.mean },
      { text: interval(row.low, row.high), value: row.low },
      { text: isNumber(row.p) ? (row.p < 0.001 ? "< 0.001" : row.p.toFixed(3)) : "–", value: row.p },
      { text: String(row.n), value: row.n },
      { text: row.seeds.map((value) => digits(value, 2)).join(", "), value: row.mean },
    ]),
  );
};

onChange("gains-candidate", () => {
  fillGains();
  redraw("plot-gains", "plot-gains-all");
});
onChange("gains-order", () => redraw("plot-gains"));
