// Learning curves: a panel per task; training dashed, validation solid, single seeds thin.

const curvesCandidate = () => report.curves[valueOf("curves-candidate", report.focus)] ?? {};

const curveTasks = () => {
  const available = Object.keys(curvesCandidate()).map(Number);
  const view = valueOf("curves-task", "all");
  if (view === "all") return available;
  if (view !== "lowest" && view !== "highest") return available.filter((task) => task === Number(view));
  const gains = report.gains[valueOf("curves-candidate", report.focus)] ?? report.gains[report.focus] ?? [];
  const ordered = byGain(gains).filter((row) => isNumber(row.mean)).map((row) => row.task).filter((task) => available.includes(task));
  if (!ordered.length) return available.slice(0, 6);
  return view === "highest" ? ordered.slice(0, 6) : ordered.slice(-6).reverse();
};

addFigure("plot-curves", (width, palette) => {
  const tasks = curveTasks();
  if (!tasks.length) return null;
  const columns = Math.min(tasks.length, width < 560 ? 1 : width < 820 ? 2 : 3);
  const rows = Math.ceil(tasks.length / columns);
  const single = tasks.length === 1;
  const panel = single ? 300 : 180;
  const top = width < 560 ? 84 : 56; // a narrow legend has two lines
  const between = 66;
  const bottom = 50;
  const inner = rows * panel + (rows - 1) * between;
  const left = 46;
  const gap = 52 / (width - left - 12);
  const across = (1 - gap * (columns - 1)) / columns;
  const data = [];
  const overrides = { height: top + inner + bottom, margin: { l: left, r: 12, t: top, b: bottom }, annotations: [], showlegend: true };
  overrides.legend = { orientation: "h", x: 0, xref: "container", y: 1, yref: "container", yanchor: "top", xanchor: "left", font: { size: 12 }, itemclick: false, itemdoubleclick: false };
  tasks.forEach((task, position) => {
    const curve = curvesCandidate()[task];
    const column = position % columns;
    const row = Math.floor(position / columns);
    const number = position === 0 ? "" : String(position + 1);
    const axes = { xaxis: `x${number}`, yaxis: `y${number}` };
    const x = [column * (across + gap), column * (across + gap) + across];
    const yTop = 1 - (row * (panel + between)) / inner;
    const base = { color: palette.muted, gridcolor: palette.line, zeroline: false, fixedrange: true, tickfont: { size: 11.5 } };
    overrides[`xaxis${number}`] = {
      ...base,
      ...epochAxis(curve.e, across * width, position + columns >= tasks.length ? {} : { title: undefined }),
      domain: x,
      anchor: `y${number}`,
    };
    overrides[`yaxis${number}`] = { ...base, domain: [Math.max(0, yTop - panel / inner), yTop], anchor: `x${number}`, nticks: 5 };
    overrides.annotations.push({
      text: `<b>${shortened(report.tasks[task], Math.floor((across * width) / 8))}</b>`, showarrow: false, x: x[0], xref: "paper",
      xanchor: "left", y: yTop, yref: "paper", yanchor: "bottom", yshift: 6, font: { size: 13, color: palette.text },
    });
    const first = position === 0;
    const line = { type: "scatter", mode: "lines", ...axes };
    (curve.s ?? []).forEach((values, seed) =>
      data.push({
        ...line, x: curve.se, y: values, name: "one seed", legendgroup: "seed", showlegend: first && seed === 0, opacity: 0.4,
        line: { color: palette.series(0), width: 1 }, hoverinfo: "skip",
      }),
    );
    const hover = (name) => `${plain(report.tasks[task])}<br>epoch %{x}<br>${name}: %{y:.4g}<extra></extra>`;
    data.push(
      { ...line, x: curve.e, y: curve.t, name: "training", legendgroup: "t", showlegend: first, line: { color: palette.series(1), width: 2, dash: "dash" }, hovertemplate: hover("training") },
      { ...line, x: curve.e, y: curve.v, name: "validation", legendgroup: "v", showlegend: first, line: { color: palette.series(0), width: 2.5 }, hovertemplate: hover("validation") },
    );
    const best = curve.v.reduce((kept, value, index) => (isNumber(value) && (kept < 0 || value < curve.v[kept]) ? index : kept), -1);
    if (best >= 0) {
      data.push({
        ...line, mode: "markers", x: [curve.e[best]], y: [curve.v[best]], name: "lowest", legendgroup: "b", showlegend: first,
        marker: { symbol: "diamond", size: 9, color: palette.text }, hovertemplate: hover("lowest validation"),
      });
    }
  });
  const layout = layoutOf(palette, width, overrides);
  delete layout.xaxis.automargin;
  delete layout.yaxis.automargin;
  return { data, layout };
});

onChange("curves-candidate", () => redraw("plot-curves"));
onChange("curves-task", () => redraw("plot-curves"));
