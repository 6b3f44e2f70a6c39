// Draws a picture of every table that stands in a figure; the table stays, behind "As a table".
// What is a number is in the cell's data-value, what is shown in its text.

const style = getComputedStyle(document.documentElement);
const colour = (name) => style.getPropertyValue(name).trim();
const shown = (value, percent) =>
  value == null ? "–" : percent ? `${(100 * value).toLocaleString("en", { maximumSignificantDigits: 3 })} %` : value.toLocaleString("en", { notation: "compact", maximumSignificantDigits: 4 });

const day = (seconds) => new Date(seconds * 1000).toISOString().slice(0, 10);

function data(table) {
  // By day, however the table is sorted.
  const rows = [...table.tBodies[0].rows].map((row) => [...row.cells]).sort(([a], [b]) => Date.parse(a.textContent) - Date.parse(b.textContent));
  const names = [...table.tHead.rows[0].cells].map((cell) => cell.textContent);
  const days = rows.map((cells) => Date.parse(cells[0].textContent) / 1000);
  const columns = names.slice(1).map((_, n) => rows.map((cells) => (cells[n + 1].dataset.value === "" ? null : Number(cells[n + 1].dataset.value))));
  return { names: names.slice(1), days, columns };
}

function stacked(columns) {
  const sums = columns[0].map(() => 0);
  return columns.map((column) => column.map((value, n) => (sums[n] += value ?? 0)));
}

// What is drawn as a line; `quiet` are the many lines of ranks, of which one at a time is followed.
function line(kind, name, n, only, gaps, shows) {
  const colours = { interval: n === 0 ? "--accent" : null, ranks: only ? `--s${(n % 6) + 1}` : "--quiet" };
  const stroke = kind in colours ? colours[kind] : `--s${(n % 6) + 1}`;
  return {
    label: name,
    stroke: stroke ? colour(stroke) : "transparent",
    width: kind === "ranks" && !only ? 1.25 : 2,
    // Colours come again after six.
    dash: n > 5 && (kind !== "ranks" || only) ? [6, 4] : undefined,
    alpha: kind === "ranks" && !only ? 0.45 : 1,
    points: { show: kind === "ranks" || only || gaps, size: kind === "ranks" && !only ? 3 : 5 },
    value: (_, value, s, i) => shows(i),
  };
}

function draw(figure, box) {
  const { names, days, columns } = data(figure.querySelector("table"));
  const kind = figure.dataset.chart;
  const percent = kind === "percent";
  const last = days.length - 1;
  const values = kind === "stack" ? stacked(columns) : columns;
  const grid = { stroke: colour("--line"), width: 1 };
  const axis = { stroke: colour("--quiet"), grid, ticks: grid, font: `12px ${style.fontFamily}` };
  // Many products are grey, of which one is followed; models have their colours, however many they are.
  const few = kind !== "ranks" || names.length < 10 || !figure.parentElement.querySelector("[data-product]");
  const ratio = (value) => value?.toFixed(2) ?? "–";
  const said = (n, i) => (kind === "interval" && i != null ? `${ratio(columns[0][i])} (${ratio(columns[1][i])} to ${ratio(columns[2][i])})` : shown(i == null ? null : columns[n][i], percent));
  const series = names.map((name, n) => line(kind, name, n, kind === "ranks" ? few : last < 2, columns[n].includes(null), (i) => said(n, i)));
  let bands = [];
  if (kind === "stack") {
    series[0].fill = `${colour("--s1")}55`;
    bands = names.slice(1).map((_, n) => ({ series: [n + 2, n + 1], fill: `${colour(`--s${n + 2}`)}55` }));
  }
  if (kind === "interval") bands = [{ series: [3, 2], fill: `${colour("--accent")}33` }];
  const ranges = { ranks: { dir: -1, range: [0.5, 20.5] }, interval: { range: [0, Number(figure.dataset.top)] } };
  // Ranks and counts are whole.
  const whole = Array.from({ length: 12 }, (_, n) => [1, 2, 5].map((first) => first * 10 ** n)).flat();
  const marks = kind === "ranks" ? { splits: () => [1, 5, 10, 15, 20] } : percent || kind === "interval" ? {} : { incrs: whole };
  const size = () => ({ width: Math.max(200, figure.clientWidth), height: kind === "interval" ? 150 : 220 });
  const noBetter = (plot) => {
    const y = Math.round(plot.valToPos(1, "y", true));
    plot.ctx.save();
    plot.ctx.strokeStyle = colour("--ink");
    plot.ctx.setLineDash([5, 4]);
    plot.ctx.beginPath();
    plot.ctx.moveTo(plot.bbox.left, y);
    plot.ctx.lineTo(plot.bbox.left + plot.bbox.width, y);
    plot.ctx.stroke();
    plot.ctx.restore();
  };
  const plot = new uPlot(
    {
      ...size(),
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "UTC"),
      scales: { y: ranges[kind] ?? { range: (_, low, high) => [0, (high || 1) * 1.05] } },
      series: [{ label: "Day", value: (_, seconds) => (seconds == null ? "–" : day(seconds)) }, ...series],
      axes: [
        { ...axis, size: 32, space: 60, incrs: [1, 2, 3, 7, 14, 28].map((n) => n * 86_400), values: (_, ticks) => ticks.map((tick) => day(tick).slice(5)) },
        { ...axis, ...marks, size: 56, values: (_, ticks) => ticks.map((tick) => shown(tick, percent)) },
      ],
      bands,
      focus: { alpha: 0.35 },
      cursor: { y: false, points: { size: 7 }, sync: { key: "days" } },
      hooks: {
        draw: kind === "interval" ? [noBetter] : [],
        // Nobody points at a day: the newest one's figures.
        setLegend: [(plot) => plot.legend.idx == null && plot.setLegend({ idx: last }, false)],
      },
    },
    [days, ...values],
    box,
  );
  plot.setLegend({ idx: last });
  if (!few) box.classList.add("many");
  return { plot, size, many: !few };
}

// The room for a picture first: the page is shown before pictures are drawn, and nothing moves when they are.
const rooms = [...document.querySelectorAll("figure[data-chart]")].map((figure) => {
  const box = document.createElement("div");
  box.className = "picture";
  box.setAttribute("aria-hidden", "true");
  figure.prepend(box);
  figure.querySelector("details").removeAttribute("open");
  return { figure, box };
});

let drawn = [];
function drawAll() {
  for (const { plot } of drawn) plot.destroy();
  drawn = rooms.map(({ figure, box }) => draw(figure, box));
  follow(null);
}
requestAnimationFrame(() => setTimeout(drawAll));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
addEventListener("resize", () => drawn.forEach(({ plot, size }) => plot.setSize(size())));

// A product is followed across all lists and pictures, by pointing at it or by the keyboard's focus.
function follow(product) {
  for (const row of document.querySelectorAll("tr[data-product]")) row.classList.toggle("followed", row.dataset.product === product);
  for (const { plot, many } of drawn) {
    if (!many) continue;
    // Until one is followed, it is the first of the list.
    const place = product == null ? 1 : plot.series.findIndex((series) => series.label === product);
    plot.series.forEach((series, n) => {
      if (n === 0) return;
      series.width = n === place ? 3 : 1.25;
      series.alpha = n === place ? 1 : place > 0 ? 0.2 : 0.5;
      series.stroke = () => colour(n === place ? "--accent" : "--quiet");
      series.points.stroke = series.stroke;
    });
    plot.redraw(false);
  }
}
for (const row of document.querySelectorAll("tr[data-product]")) {
  row.addEventListener("pointerenter", () => follow(row.dataset.product));
  row.addEventListener("pointerleave", () => follow(null));
  row.addEventListener("focusin", () => follow(row.dataset.product));
  row.addEventListener("focusout", () => follow(null));
}

// Every table can be sorted by a column, copied, and taken away as CSV: exact values, as the API has them.
const exact = (cell) => cell.dataset.value ?? cell.textContent.trim().replace(/^[\d,]+$/, (number) => number.replaceAll(",", ""));
const lines = (table, separator) => [...table.rows].map((row) => [...row.cells].map((cell) => quoted(exact(cell), separator)).join(separator)).join("\n");
const quoted = (text, separator) => (text.includes(separator) || /["\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

function sortBy(table, place, head) {
  const down = head.getAttribute("aria-sort") !== "descending";
  const compare = (a, b) => {
    const [x, y] = [a, b].map((row) => exact(row.cells[place]));
    return x !== "" && y !== "" && !isNaN(x) && !isNaN(y) ? x - y : x.localeCompare(y);
  };
  for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  table.tBodies[0].append(...[...table.tBodies[0].rows].sort((a, b) => (down ? compare(b, a) : compare(a, b))));
}

for (const table of document.querySelectorAll(".box > table")) {
  [...table.tHead.rows[0].cells].forEach((head, place) => {
    const button = Object.assign(document.createElement("button"), { textContent: head.textContent, className: "plain" });
    button.addEventListener("click", () => sortBy(table, place, head));
    head.replaceChildren(button);
  });
  const tool = (text, act) => {
    const button = Object.assign(document.createElement("button"), { textContent: text, className: "tool", type: "button" });
    button.addEventListener("click", () => act(button));
    return button;
  };
  const tools = document.createElement("p");
  tools.className = "tools";
  // Without TLS a browser gives no clipboard, but on the machine itself.
  if (navigator.clipboard)
    tools.append(
      tool("Copy", async (button) => {
        await navigator.clipboard.writeText(lines(table, "\t"));
        button.textContent = "Copied";
      }),
    );
  tools.append(
    tool("CSV", () => {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([lines(table, ",") + "\n"], { type: "text/csv" }));
      link.download = `${document.title.replaceAll(/[^\w-]+/g, "_")}.csv`;
      link.click();
      URL.revokeObjectURL(link.href);
    }),
  );
  const source = table.parentElement.nextElementSibling;
  if (source?.matches(".source")) source.prepend(tools);
  else table.parentElement.after(tools);
}

// Ids that begin with what is typed, from the API.
const input = document.querySelector("#q");
const root = document.body.dataset.root;
let asked = 0;
input.addEventListener("input", async () => {
  const turn = ++asked;
  if (!input.value) return;
  // Whatever else comes than the API's answer (a proxy's page to log in, nothing) completes nothing.
  const found = await fetch(`${root}/advertisers?limit=20&after=${encodeURIComponent(input.value)}`).then((answer) => answer.json()).catch(() => null);
  const advertisers = found?.advertisers;
  if (turn !== asked || !advertisers) return;
  const ids = advertisers.map((one) => one.advertiser_id).filter((id) => id.startsWith(input.value));
  document.querySelector("#ids").replaceChildren(...ids.map((id) => new Option("", id)));
});
