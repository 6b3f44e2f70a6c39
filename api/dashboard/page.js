// The dashboard: an advertiser's lists of the last seven days, by every model that there is, and how they fare.
// It knows no model: whatever /models and /history name is shown, with the figures that the entries have.

const form = document.querySelector("form");
const { advertiser, date } = form.elements;
const message = document.querySelector("#message");

async function get(path) {
  const answer = await fetch(path);
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.detail);
  return body;
}

// Elements are made, never parsed: an id is text, whatever is in it.
function element(name, content, attributes = {}) {
  const made = Object.assign(document.createElement(name), attributes);
  made.append(...[content].flat());
  return made;
}

const shown = (value) =>
  typeof value === "number" ? value.toLocaleString("en", { maximumSignificantDigits: 4 }) : String(value ?? "–");
const percent = (share) => `${shown(100 * share)} %`;
const words = (name) => name.replaceAll("_", " ");

function table(rows) {
  const columns = Object.keys(rows[0] ?? {});
  const kind = (name) => ({ className: name.endsWith("_id") ? "id" : "" });
  const cells = (row) => columns.map((name) => element("td", row[name] instanceof Node ? row[name] : shown(row[name]), kind(name)));
  return element("table", [
    element("thead", element("tr", columns.map((name) => element("th", words(name), kind(name))))),
    element("tbody", rows.map((row) => element("tr", cells(row)))),
  ]);
}

function figures(list, outcome) {
  const told = [];
  if (list?.replaced_share != null) told.push(`${percent(list.replaced_share)} of it replaced since the day before.`);
  if (list?.week.replaced_share != null) told.push(`${percent(list.week.replaced_share)} on average of ${list.week.days} days.`);
  if (outcome?.lift != null) {
    const chance = outcome.meaningful ? "" : " (too few clicks to mean much)";
    told.push(`The list of ${outcome.lists_of} had ${shown(outcome.lift)} times the average click-through rate the day after${chance}.`);
  }
  return told.join(" ");
}

let shows = 0;

async function show() {
  const turn = ++shows;
  const id = encodeURIComponent(advertiser.value.trim());
  const asked = date.value;
  try {
    const { history } = await get(`history/${id}`);
    const days = Object.keys(history);
    const day = days.includes(asked) ? asked : days[0];
    const [{ models }, stats] = await Promise.all([get(`models?date=${day}`), get(`stats/${id}?date=${day}`)]);
    if (turn !== shows) return; // another choice has been made meanwhile
    message.textContent = asked && asked !== day ? `There is no list of ${asked} here; this is the newest.` : "";
    date.replaceChildren(...days.map((name) => element("option", name, { selected: name === day })));
    const titles = Object.fromEntries(models.map(({ model, title }) => [model, title]));
    document.querySelector("main").replaceChildren(
      ...Object.entries(history[day]).map(([model, list]) =>
        element("section", [
          element("h2", model),
          element("p", titles[model] ?? ""),
          element("p", figures(stats.lists[model], stats.evaluation?.[model])),
          table(list),
        ]),
      ),
    );
    remember(day);
  } catch (error) {
    if (turn !== shows) return;
    document.querySelector("main").replaceChildren();
    message.textContent = error.message;
  }
}

// The address says what is shown, so that it can be sent to somebody.
function remember(day) {
  const address = `?${new URLSearchParams({ advertiser: advertiser.value.trim(), date: day })}`;
  const complete = new URLSearchParams(location.search).has("date");
  if (address !== location.search) window.history[complete ? "pushState" : "replaceState"](null, "", address);
}

function choose(id) {
  advertiser.value = id;
  return show();
}

async function overview() {
  const { date: newest, published_at, advertisers, totals, most_varying } = await get("stats");
  const { impressions, clicks, views } = totals.day ?? {};
  document.querySelector("#published").textContent =
    `${newest}, published ${new Date(published_at).toLocaleString()}: ${shown(advertisers)} advertisers, ` +
    `${shown(impressions)} impressions, ${shown(clicks)} clicks, ${shown(views)} views`;
  const link = (id) => element("a", id, { href: `?${new URLSearchParams({ advertiser: id })}` });
  document.querySelector("#overview").replaceChildren(
    ...Object.entries(most_varying).map(([model, rows]) =>
      element("section", [
        element("h2", `Lists of ${model} that vary most`),
        table(rows.map((row) => ({ advertiser_id: link(row.advertiser_id), replaced: percent(row.replaced_share), days: row.days }))),
      ]),
    ),
  );
}

function fromAddress() {
  const asked = new URLSearchParams(location.search);
  date.replaceChildren(element("option", asked.get("date") ?? ""));
  return asked.get("advertiser");
}

async function start() {
  try {
    const { advertisers } = await get("advertisers?limit=10000");
    const ids = advertisers.map(({ advertiser_id }) => advertiser_id);
    document.querySelector("#advertisers").replaceChildren(...ids.map((value) => element("option", [], { value })));
    await Promise.all([choose(fromAddress() ?? ids[0] ?? ""), overview()]);
  } catch (error) {
    message.textContent = error.message;
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  show();
});
date.addEventListener("change", show);
window.addEventListener("popstate", start);
start();
