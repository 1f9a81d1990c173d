// The numbers, how they are written, the colours of the moment, and when figures are drawn.

const report = JSON.parse(document.getElementById("numbers").textContent);
const root = document.documentElement;
const element = (id) => document.getElementById(id);
const titles = Object.fromEntries(report.candidates.map((candidate) => [candidate.name, candidate.title]));

// Plotly reads markup in texts; names are shown as they are.
const plain = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
const shortened = (text, length) => {
  const letters = Array.from(text);
  return plain(letters.length > length ? letters.slice(0, length - 1).join("").trimEnd() + "…" : text);
};
const isNumber = (value) => typeof value === "number" && Number.isFinite(value);
const minus = (text) => text.replace("-", "−");
const digits = (value, count = 3) => {
  if (!isNumber(value)) return "–";
  if (value === 0) return "0";
  const magnitude = Math.floor(Math.log10(Math.abs(value)));
  if (magnitude >= 7 || magnitude < -4) return minus(value.toExponential(count - 1));
  const places = Math.max(0, count - 1 - magnitude);
  return minus(value.toLocaleString("en", { minimumFractionDigits: places, maximumFractionDigits: places }));
};
const signed = (value, places = 1) => {
  if (!isNumber(value)) return "–";
  const text = Math.abs(value).toFixed(places);
  return (Number(text) === 0 ? "±" : value > 0 ? "+" : "−") + text;
};
const percent = (value) => (isNumber(value) ? `${signed(value, Math.abs(value) < 100 ? 1 : 0)} %` : "–");
// Gains are in percent, or in units of the score where a share of it has no meaning.
const gain = (value) => (report.relative ? percent(value) : isNumber(value) && value > 0 ? `+${digits(value)}` : digits(value));
const interval = (low, high, written = gain) =>
  isNumber(low) && isNumber(high) ? `${written(low).replace(" %", "")} to ${written(high)}` : "–";

const VERDICTS = {
  better: { word: "Better", symbol: "▲", marker: "triangle-up" },
  worse: { word: "Worse", symbol: "▼", marker: "triangle-down" },
  equivalent: { word: "Equivalent", symbol: "■", marker: "square" },
  inconclusive: { word: "Inconclusive", symbol: "○", marker: "circle-open" },
};
const DASHES = ["solid", "dash", "dot", "dashdot"];

const colours = () => {
  const style = getComputedStyle(root);
  const named = (name) => style.getPropertyValue(`--${name}`).trim();
  return {
    named,
    text: named("text"),
    muted: named("muted"),
    line: named("line"),
    strong: named("strong-line"),
    page: named("page"),
    band: named("band"),
    series: (index) => named(`series-${(index % 8) + 1}`),
    diverging: [
      [0, named("low")],
      [0.25, named("lower")],
      [0.5, named("middle")],
      [0.75, named("higher")],
      [1, named("high")],
    ],
  };
};

const PRINT_WIDTH = 660;
const figures = [];

// draw(width, colours) returns {data, layout}, or null to hide the figure.
const addFigure = (id, draw) => {
  if (element(id)) figures.push({ id, draw });
};

const layoutOf = (palette, width, overrides) => {
  const axis = {
    color: palette.muted,
    gridcolor: palette.line,
    showline: false,
    zeroline: false,
    fixedrange: true,
    automargin: true,
    title: { standoff: 10 },
    tickfont: { size: 12 },
  };
  const { xaxis, yaxis, ...rest } = overrides;
  return {
    width,
    autosize: false,
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: getComputedStyle(document.body).fontFamily, size: 13, color: palette.text },
    margin: { l: 8, r: 12, t: 36, b: 44 },
    dragmode: false,
    hovermode: "closest",
    hoverlabel: { bgcolor: palette.page, bordercolor: palette.strong, font: { color: palette.text, size: 13 }, align: "left" },
    legend: { orientation: "h", x: 0, y: 1, yanchor: "bottom", xanchor: "left", font: { size: 12 }, itemclick: false, itemdoubleclick: false },
    xaxis: { ...axis, ...xaxis },
    yaxis: { ...axis, ...yaxis },
    ...rest,
  };
};

const drawFigure = ({ id, draw }) => {
  const place = element(id);
  const width = "printing" in root.dataset ? PRINT_WIDTH : Math.floor(place.getBoundingClientRect().width);
  if (width < 40) return;
  const drawn = draw(width, colours());
  place.hidden = drawn === null;
  if (drawn === null) return;
  Plotly.react(place, drawn.data, drawn.layout, { displayModeBar: false, responsive: false, scrollZoom: false, doubleClick: false });
};
const drawAll = () => figures.forEach(drawFigure);
const redraw = (...ids) => figures.filter((figure) => ids.includes(figure.id)).forEach(drawFigure);

const onChange = (id, action) => element(id)?.addEventListener("input", action);
const valueOf = (id, otherwise) => element(id)?.value ?? otherwise;

// Ticks of an epoch axis stand at whole epochs.
const epochAxis = (epochs, width, rest = {}) => {
  const span = Math.max(1, ...epochs) - Math.min(...epochs);
  const steps = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000];
  const dtick = steps.find((step) => span / step <= (width < 400 ? 5 : 8)) ?? undefined;
  return { tick0: 0, dtick, showgrid: false, title: { text: "epoch", standoff: 8, font: { size: 12.5 } }, ...rest };
};
