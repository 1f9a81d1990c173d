// The dot-and-interval figure: one row each, a large mark for the mean, a line for the interval, a ring per seed.

// rows, first at the top: {label, mean, low, high, seeds, style, hover}; styles: name -> {word, marker, colour};
// written: how a value is written; gap: {after, text}, a row of text in the place of rows that are not drawn.
const intervalFigure = (entries, styles, width, palette, { title, written, gap }) => {
  const between = { label: "", mean: null, low: null, high: null, seeds: [], style: null };
  const rows = gap ? [...entries.slice(0, gap.after), between, ...entries.slice(gap.after)] : entries;
  const narrow = width < 560;
  const height = narrow ? 58 : 46;
  const top = narrow ? 84 : 58; // a narrow legend has two lines
  const values = rows.flatMap((row) => [row.mean, row.low, row.high, ...row.seeds]).filter(isNumber);
  let low = Math.min(0, -report.margin * 1.4, ...values);
  let high = Math.max(0, report.margin * 1.4, ...values);
  const pad = 0.04 * (high - low);
  low -= pad;
  high += pad;
  const seedRow = narrow ? 0.26 : 0.24;
  const data = [
    {
      type: "scatter",
      mode: "markers",
      name: "one seed",
      x: rows.flatMap((row) => row.seeds),
      y: rows.flatMap((row, position) => row.seeds.map(() => position + seedRow)),
      text: rows.flatMap((row) => row.seeds.map((value, seed) => `${plain(row.label)}<br>seed ${report.seeds[seed]}: ${written(value)}`)),
      hovertemplate: "%{text}<extra></extra>",
      marker: { symbol: "circle-open", size: 7, color: palette.muted, line: { width: 1.2 } },
    },
  ];
  for (const [key, style] of Object.entries(styles)) {
    const chosen = rows.map((row, position) => ({ ...row, position })).filter((row) => row.style === key && isNumber(row.mean));
    if (!chosen.length) continue;
    data.push({
      type: "scatter",
      mode: "markers",
      name: style.word,
      x: chosen.map((row) => row.mean),
      y: chosen.map((row) => row.position),
      text: chosen.map((row) => row.hover),
      hovertemplate: "%{text}<extra></extra>",
      marker: { symbol: style.marker, size: 12, color: style.colour, line: { width: style.marker.endsWith("open") ? 2.5 : 0, color: style.colour } },
      error_x: {
        type: "data",
        symmetric: false,
        array: chosen.map((row) => (isNumber(row.high) ? row.high - row.mean : 0)),
        arrayminus: chosen.map((row) => (isNumber(row.low) ? row.mean - row.low : 0)),
        color: style.colour,
        thickness: 2.5,
        width: 0,
      },
    });
  }
  const side = (text, x, anchor) => ({
    text, x, xref: "paper", xanchor: anchor, y: 1, yref: "paper", yanchor: "bottom", yshift: 4, showarrow: false,
    font: { size: 12, color: palette.muted },
  });
  const names = narrow
    ? rows.map((row, position) => ({ ...row, position })).filter((row) => row.label).map((row) => ({
        text: `<b>${shortened(row.label, Math.floor(width / 8.5))}</b>`, x: 0, xref: "paper", xanchor: "left", y: row.position, yshift: 19, showarrow: false,
        font: { size: 13, color: palette.text }, bgcolor: palette.page, borderpad: 1,
      }))
    : [];
  return {
    data,
    layout: layoutOf(palette, width, {
      height: top + rows.length * height + 52,
      margin: { l: 8, r: 12, t: top, b: 52 },
      showlegend: true,
      legend: { orientation: "h", x: 0, xref: "container", y: 1, yref: "container", yanchor: "top", xanchor: "left", font: { size: 12 }, itemclick: false, itemdoubleclick: false },
      xaxis: { range: [low, high], title: { text: title, standoff: 10, font: { size: 12.5 } }, ticksuffix: written(1).endsWith("%") ? " %" : "", nticks: narrow ? 5 : 9 },
      yaxis: {
        range: [rows.length - 0.45, narrow ? -0.7 : -0.55],
        showgrid: false,
        showticklabels: !narrow,
        ticks: "",
        tickvals: rows.map((row, position) => position),
        ticktext: rows.map((row) => shortened(row.label, width < 800 ? 28 : 40)),
        tickfont: { size: 13, color: palette.text },
        automargin: !narrow,
      },
      shapes: [
        { type: "rect", xref: "x", yref: "paper", x0: -report.margin, x1: report.margin, y0: 0, y1: 1, fillcolor: palette.band, line: { width: 0 }, layer: "below" },
        { type: "line", xref: "x", yref: "paper", x0: 0, x1: 0, y0: 0, y1: 1, line: { color: palette.text, width: 1.4 }, layer: "between" },
      ],
      annotations: [
        side(narrow ? "← single better" : "← single-task better", 0, "left"),
        side("multi-task better →", 1, "right"),
        ...names,
        ...(gap ? [{ text: `<i>${gap.text}</i>`, x: 0.5, xref: "paper", y: gap.after, showarrow: false, font: { size: 12.5, color: palette.muted }, bgcolor: palette.page }] : []),
      ],
    }),
  };
};
