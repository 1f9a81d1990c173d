// Loss weights over epochs, and the table of learning speed that follows its own choice of candidate.

addFigure("plot-weights", (width, palette) => {
  const numbers = report.weights[valueOf("weights-candidate", report.focus)];
  if (!numbers) return null;
  const data = [];
  if (numbers.spread) {
    const { low, middle, high } = numbers.spread;
    data.push(
      { type: "scatter", mode: "lines", x: numbers.e, y: low, line: { width: 0 }, hoverinfo: "skip", showlegend: false },
      { type: "scatter", mode: "lines", x: numbers.e, y: high, fill: "tonexty", fillcolor: palette.band, line: { width: 0 }, name: `80 % of the ${numbers.n} tasks`, hoverinfo: "skip" },
      { type: "scatter", mode: "lines", x: numbers.e, y: middle, line: { color: palette.text, width: 2.5 }, name: "median", hovertemplate: "epoch %{x}<br>median weight %{y:.3g}<extra></extra>" },
    );
  }
  numbers.tasks.forEach((task, index) =>
    data.push({
      type: "scatter", mode: "lines", x: numbers.e, y: numbers.w[index], name: shortened(report.tasks[task], 24),
      line: { color: palette.series(index), width: numbers.spread ? 1.5 : 2.5, dash: DASHES[(Math.floor(index / 8) + index) % 4] },
      hovertemplate: `${plain(report.tasks[task])}<br>epoch %{x}<br>weight %{y:.3g}<extra></extra>`,
    }),
  );
  const lines = Math.ceil((data.length * 150) / width);
  return {
    data,
    layout: layoutOf(palette, width, {
      height: 300 + 24 * lines, margin: { l: 8, r: 12, t: 24 + 24 * lines, b: 44 }, showlegend: true,
      xaxis: epochAxis(numbers.e, width),
      yaxis: { title: { text: "weight of the loss", font: { size: 12.5 } }, rangemode: "tozero" },
    }),
  };
});

onChange("weights-candidate", () => redraw("plot-weights"));

onChange("diagnostics-candidate", () => {
  const rows = report.diagnostics[valueOf("diagnostics-candidate", report.focus)] ?? [];
  fillTable(
    element("table-diagnostics"),
    rows.map(([task, epoch, regret, mismatch, share]) => [
      { text: report.tasks[task], value: report.tasks[task].toLowerCase() },
      { text: isNumber(epoch) ? String(Math.round(epoch)) : "–", value: epoch },
      { text: digits(regret), value: regret },
      typeof mismatch === "boolean" ? { text: mismatch ? "yes" : "no", value: Number(mismatch) } : { text: digits(mismatch), value: mismatch },
      { text: isNumber(share) ? `${Math.round(100 * share)} %` : "–", value: share },
    ]),
  );
});
