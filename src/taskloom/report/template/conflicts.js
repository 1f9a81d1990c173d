// Gradient cosines: lines for few pairs, a map of pairs over epochs for more, a matrix of tasks at one epoch on request.

const conflictNumbers = () => report.conflicts[valueOf("conflicts-candidate", report.focus)];
const pairName = ([first, second], length) => `${shortened(report.tasks[first], length)} × ${shortened(report.tasks[second], length)}`;
const largestCosine = (numbers) => {
  const largest = Math.max(0.2, ...numbers.cosine.flat().filter(isNumber).map(Math.abs));
  return Math.min(1, Math.ceil(largest * 10) / 10);
};
const zeroLine = (palette) => ({ type: "line", xref: "paper", yref: "y", x0: 0, x1: 1, y0: 0, y1: 0, line: { color: palette.text, width: 1.4 }, layer: "between" });
const colourBar = (palette, largest, width) => ({
  orientation: "h", x: 0, xanchor: "left", y: 1, yanchor: "bottom", thickness: 10, len: width < 560 ? 0.9 : 0.45, lenmode: "fraction", outlinewidth: 0, ypad: 6,
  tickvals: [-largest, 0, largest], ticktext: [`−${largest} conflict`, "0", `+${largest} agree`], tickfont: { size: 11.5, color: palette.muted },
});
const heat = (palette, largest, width) => ({
  type: "heatmap", zmin: -largest, zmax: largest, colorscale: palette.diverging, colorbar: colourBar(palette, largest, width), hoverongaps: false,
});

const conflictLines = (numbers, width, palette) => ({
  data: numbers.pairs.map((pair, index) => ({
    type: "scatter", mode: "lines", x: numbers.e, y: numbers.cosine[index], name: pairName(pair, 24),
    line: { color: palette.series(index), width: 2.5, dash: DASHES[index % 4] },
    hovertemplate: `${pairName(pair, 60)}<br>epoch %{x}: %{y:.2f}<extra></extra>`,
  })),
  layout: layoutOf(palette, width, {
    height: 320 + (width < 560 ? 24 * numbers.pairs.length : 24), showlegend: true, margin: { l: 8, r: 12, t: width < 560 ? 30 + 24 * numbers.pairs.length : 50, b: 44 },
    xaxis: epochAxis(numbers.e, width),
    yaxis: { title: { text: "cosine (below 0: conflict)", font: { size: 12.5 } }, range: [-1.03, 1.03], tickvals: [-1, -0.5, 0, 0.5, 1] },
    shapes: [zeroLine(palette)],
  }),
});

const conflictMap = (numbers, width, palette) => {
  const order = numbers.pairs.map((pair, index) => index).sort((first, second) => (numbers.mean[second] ?? 0) - (numbers.mean[first] ?? 0));
  const shown = order.length <= report.many ? order : [...order.slice(0, 10), ...order.slice(-10)];
  const narrow = width < 560;
  return {
    data: [{
      ...heat(palette, largestCosine(numbers), width), x: numbers.e, y: shown.map((index, row) => row), z: shown.map((index) => numbers.cosine[index]),
      ygap: 2, text: shown.map((index) => numbers.e.map(() => pairName(numbers.pairs[index], 60))), hovertemplate: "%{text}<br>epoch %{x}: %{z:.2f}<extra></extra>",
    }],
    layout: layoutOf(palette, width, {
      height: 64 + shown.length * (narrow ? 40 : 28) + 48, margin: { l: 8, r: 12, t: 64, b: 48 },
      xaxis: epochAxis(numbers.e, width),
      yaxis: {
        range: [-0.5, shown.length - 0.5], showgrid: false, ticks: "", tickvals: shown.map((index, row) => row),
        ticktext: shown.map((index) => (narrow ? pairName(numbers.pairs[index], 13).replace(" × ", " ×<br>") : pairName(numbers.pairs[index], 20))),
        tickfont: { size: narrow ? 11.5 : 12.5, color: palette.text },
      },
    }),
  };
};

const conflictMatrix = (numbers, width, palette) => {
  const at = Number(valueOf("conflicts-epoch", 0));
  const tasks = [...new Set(numbers.pairs.flat())].sort((first, second) => first - second);
  const place = Object.fromEntries(tasks.map((task, index) => [task, index]));
  const z = tasks.map(() => tasks.map(() => null));
  numbers.pairs.forEach(([first, second], index) => {
    z[place[first]][place[second]] = numbers.cosine[index][at];
    z[place[second]][place[first]] = numbers.cosine[index][at];
  });
  const narrow = width < 560;
  const names = tasks.map((task) => shortened(report.tasks[task], narrow ? 10 : 22));
  const size = Math.min(width, 660);
  const written = tasks.length <= (narrow ? 4 : 9);
  const ticks = { tickvals: tasks.map((task, index) => index), ticktext: names, showgrid: false, ticks: "", tickfont: { size: narrow ? 11.5 : 12.5, color: palette.text } };
  return {
    data: [{
      ...heat(palette, largestCosine(numbers), width), x: tasks.map((task, index) => index), y: tasks.map((task, index) => index), z, xgap: 2, ygap: 2,
      customdata: tasks.map((second) => tasks.map((first) => pairName([first, second], 60))),
      hovertemplate: "%{customdata}<br>%{z:.2f}<extra></extra>", texttemplate: written ? "%{z:.2f}" : undefined,
    }],
    layout: layoutOf(palette, size, {
      height: size * 0.86 + 50, margin: { l: 8, r: 12, t: 64, b: 40 },
      xaxis: ticks, yaxis: { ...ticks, autorange: "reversed" },
    }),
  };
};

addFigure("plot-conflicts", (width, palette) => {
  const numbers = conflictNumbers();
  if (!numbers) return null;
  const matrix = valueOf("conflicts-view", "pairs") === "matrix";
  if (element("conflicts-epoch")) {
    const slider = element("conflicts-epoch");
    slider.max = numbers.e.length - 1;
    element("conflicts-epoch-label").hidden = !matrix;
    element("conflicts-epoch-shown").textContent = numbers.e[Number(slider.value)];
    slider.setAttribute("aria-valuetext", `epoch ${numbers.e[Number(slider.value)]}`);
  }
  if (matrix) return conflictMatrix(numbers, width, palette);
  return numbers.n <= 3 ? conflictLines(numbers, width, palette) : conflictMap(numbers, width, palette);
});

addFigure("plot-conflicts-spread", (width, palette) => {
  const numbers = conflictNumbers();
  if (!numbers?.spread) return null;
  const { low, middle, high } = numbers.spread;
  const colour = palette.series(0);
  return {
    data: [
      { type: "scatter", mode: "lines", x: numbers.e, y: low, line: { width: 0 }, hoverinfo: "skip", showlegend: false },
      { type: "scatter", mode: "lines", x: numbers.e, y: high, fill: "tonexty", fillcolor: palette.band, line: { width: 0 }, name: "80 % of the pairs", hoverinfo: "skip" },
      {
        type: "scatter", mode: "lines", x: numbers.e, y: middle, line: { color: colour, width: 2.5 }, name: "median cosine", customdata: numbers.below,
        hovertemplate: "epoch %{x}<br>median cosine %{y:.2f}<br>pairs below 0: %{customdata:.0%}<extra></extra>",
      },
      {
        type: "scatter", mode: "lines", x: numbers.e, y: numbers.below, line: { color: palette.series(1), width: 2, dash: "dash" }, name: "share of pairs below 0",
        hovertemplate: "epoch %{x}<br>pairs below 0: %{y:.0%}<extra></extra>",
      },
    ],
    layout: layoutOf(palette, width, {
      height: 340, margin: { l: 8, r: 12, t: width < 560 ? 84 : 44, b: 44 }, showlegend: true,
      xaxis: epochAxis(numbers.e, width),
      yaxis: { title: { text: `cosine over ${numbers.n.toLocaleString("en")} pairs`, font: { size: 12.5 } } },
      shapes: [zeroLine(palette)],
    }),
  };
});

const fillConflicts = () => {
  const table = element("table-conflicts");
  const numbers = conflictNumbers();
  if (!table || !numbers) return;
  const share = (value) => (isNumber(value) ? `${Math.round(100 * value)} %` : "–");
  fillTable(
    table,
    numbers.pairs.map((pair, index) => {
      const name = `${report.tasks[pair[0]]} × ${report.tasks[pair[1]]}`;
      return [
        { text: name, value: name.toLowerCase() },
        { text: signed(numbers.mean[index], 2), value: numbers.mean[index] },
        { text: share(numbers.share[index]), value: numbers.share[index] },
      ];
    }),
  );
};

onChange("conflicts-candidate", () => {
  if (element("conflicts-epoch")) element("conflicts-epoch").value = 0;
  fillConflicts();
  redraw("plot-conflicts", "plot-conflicts-spread");
});
onChange("conflicts-view", () => redraw("plot-conflicts"));
onChange("conflicts-epoch", () => redraw("plot-conflicts"));
