// Draws a picture of every table that stands in a figure; the table stays, behind "As a table".
// What is a number is in the cell's data-value, what is shown in its text.

const style = getComputedStyle(document.documentElement);
const colour = (name) => style.getPropertyValue(name).trim();
const shown = (value, percent) =>
  value == null ? "–" : percent ? `${(100 * value).toLocaleString("en", { maximumSignificantDigits: 3 })} %` : value.toLocaleString("en", { notation: "compact", maximumSignificantDigits: 4 });

const day = (seconds) => new Date(seconds * 1000).toISOString().slice(0, 10);

function data(table) {
  const rows = [...table.tBodies[0].rows].map((row) => [...row.cells]);
  const names = [...table.tHead.rows[0].cells].map((cell) => cell.textContent);
  const days = rows.map((cells) => Date.parse(cells[0].textContent) / 1000);
  const columns = names.slice(1).map((_, n) => rows.map((cells) => (cells[n + 1].dataset.value === "" ? null : Number(cells[n + 1].dataset.value))));
  return { names: names.slice(1), days, columns };
}

function stacked(columns) {
  const sums = columns[0].map(() => 0);
  return columns.map((column) => column.map((value, n) => (sums[n] += value ?? 0)));
}

function draw(figure) {
  const { names, days, columns } = data(figure.querySelector("table"));
  const kind = figure.dataset.chart;
  const percent = kind === "percent";
  const ranked = kind === "ranks";
  const values = kind === "stack" ? stacked(columns) : columns;
  const axis = { stroke: colour("--quiet"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line") }, font: "12px system-ui" };
  const series = names.map((name, n) => ({
    label: name,
    stroke: colour(`--s${(n % 6) + 1}`),
    width: ranked ? 1.5 : 2,
    alpha: ranked ? 0.55 : 1,
    points: { show: ranked || days.length < 3, size: 4 },
    value: (_, value, s, i) => shown(i == null ? null : columns[n][i], percent),
  }));
  const bands = kind === "stack" ? names.slice(1).map((_, n) => ({ series: [n + 2, n + 1], fill: `${colour(`--s${n + 2}`)}55` })) : [];
  if (kind === "stack") series[0].fill = `${colour("--s1")}55`;
  const box = document.createElement("div");
  box.setAttribute("aria-hidden", "true");
  figure.prepend(box);
  const size = () => ({ width: Math.max(240, figure.clientWidth), height: 220 });
  const plot = new uPlot(
    {
      ...size(),
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "UTC"),
      scales: { y: ranked ? { dir: -1, range: [0.5, 20.5] } : { range: (_, low, high) => [0, (high || 1) * 1.05] } },
      series: [{ label: "Day", value: (_, seconds) => (seconds == null ? "–" : day(seconds)) }, ...series],
      axes: [{ ...axis, space: 56, values: (_, ticks) => ticks.map((tick) => day(tick).slice(5)) }, { ...axis, size: 56, values: (_, ticks) => ticks.map((tick) => shown(tick, percent)) }],
      bands,
      focus: { alpha: 0.15 },
      cursor: { y: false, points: { size: 7 }, sync: { key: "days" } },
    },
    [days, ...values],
    box,
  );
  figure.querySelector("details")?.removeAttribute("open");
  return { plot, size, box };
}

let drawn = [];
function drawAll() {
  for (const { plot, box } of drawn) {
    plot.destroy();
    box.remove();
  }
  drawn = [...document.querySelectorAll("figure[data-chart]")].map(draw);
}
drawAll();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
addEventListener("resize", () => drawn.forEach(({ plot, size }) => plot.setSize(size())));

// A product is followed across all lists and pictures, by pointing at it or by the keyboard's focus.
function follow(product) {
  for (const row of document.querySelectorAll("tr[data-product]")) row.classList.toggle("followed", row.dataset.product === product);
  for (const { plot } of drawn) {
    const place = plot.series.findIndex((series) => series.label === product);
    if (plot.root.closest("[data-chart=ranks]")) plot.setSeries(place > 0 ? place : null, { focus: true });
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
  tools.append(
    tool("Copy", async (button) => {
      await navigator.clipboard.writeText(lines(table, "\t"));
      button.textContent = "Copied";
    }),
    tool("CSV", () => {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([lines(table, ",") + "\n"], { type: "text/csv" }));
      link.download = `${document.title.replaceAll(/[^\w-]+/g, "_")}.csv`;
      link.click();
      URL.revokeObjectURL(link.href);
    }),
  );
  table.parentElement.after(tools);
}

// Ids that begin with what is typed, from the API.
const input = document.querySelector("#q");
const root = document.body.dataset.root;
let asked = 0;
input.addEventListener("input", async () => {
  const turn = ++asked;
  if (!input.value) return;
  const answer = await fetch(`${root}/advertisers?limit=20&after=${encodeURIComponent(input.value)}`).catch(() => null);
  if (turn !== asked || !answer?.ok) return;
  const { advertisers } = await answer.json();
  document.querySelector("#ids").replaceChildren(...advertisers.map(({ advertiser_id }) => new Option("", advertiser_id)));
});
