// The dashboard: an advertiser's lists of the last seven days, by every model that there is, and how they fare.
// It knows no model: whatever /models and /history name is shown, with the figures that the entries have.

const form = document.querySelector("form");
const { advertiser, date } = form.elements;
const message = document.querySelector("#message");
const main = document.querySelector("main");

async function get(path) {
  const answer = await fetch(path);
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(body.detail ?? `The API answered ${answer.status}.`);
  return body;
}

// Elements are made, never parsed: an id is text, whatever is in it.
function element(name, content, attributes = {}) {
  const made = Object.assign(document.createElement(name), attributes);
  made.append(...[content].flat());
  return made;
}

function shown(value) {
  if (typeof value !== "number") return String(value ?? "–");
  return value.toLocaleString("en", Number.isInteger(value) ? {} : { maximumSignificantDigits: 4 });
}

const percent = (share) => `${shown(Math.round(1000 * share) / 10)} %`;

function table(rows) {
  const columns = Object.keys(rows[0] ?? {});
  const kind = (name) => ({ className: name.endsWith("_id") ? "id" : "" });
  const heading = (name) => element("th", name.replaceAll("_", " "), { scope: "col", ...kind(name) });
  const cell = (name, value) => element("td", value instanceof Node ? value : shown(value), kind(name));
  return element("table", [
    element("thead", element("tr", columns.map(heading))),
    element("tbody", rows.map((row) => element("tr", columns.map((name) => cell(name, row[name]))))),
  ]);
}

function told(list, outcome) {
  const sentences = [];
  if (list?.replaced_share != null) sentences.push(`${percent(list.replaced_share)} replaced since the published day before.`);
  if (list?.week.days > 1) sentences.push(`${percent(list.week.replaced_share)} on average of ${list.week.days} days.`);
  if (outcome?.lift != null) {
    const chance = outcome.meaningful ? "" : " (too few clicks to mean much)";
    sentences.push(`The day after, the list of ${outcome.lists_of} had ${shown(outcome.lift)} times the average click-through rate${chance}.`);
  }
  return sentences.join(" ");
}

let shows = 0;

// The address says what is shown, so that it can be sent to somebody. A choice adds one to go back from.
async function show(write = "replaceState") {
  const turn = ++shows;
  const [id, asked] = [advertiser.value, date.value];
  const path = encodeURIComponent(id);
  try {
    const { history, from, to } = await get(`history/${path}`);
    const days = Object.keys(history);
    if (!days.length) throw new Error(`No lists from ${from} to ${to}: there were no events of this advertiser.`);
    const day = days.includes(asked) ? asked : days[0];
    // The lists are shown even when what is told about them can not be had.
    const about = [get(`models?date=${day}`), get(`stats/${path}?date=${day}`)].map((answer) => answer.catch(() => ({})));
    const [{ models = [] }, { lists = {}, evaluation = {} }] = await Promise.all(about);
    if (turn !== shows) return; // another choice has been made meanwhile
    const titles = Object.fromEntries(models.map(({ model, title }) => [model, title]));
    const section = ([model, list]) =>
      element("section", [
        element("h2", model),
        element("p", titles[model] ?? ""),
        element("p", told(lists[model], evaluation[model])),
        table(list),
      ]);
    main.replaceChildren(...Object.entries(history[day]).map(section));
    message.textContent = asked && asked !== day ? `There is no list of ${asked} here; this is the newest.` : "";
    date.replaceChildren(...days.map((name) => element("option", name, { selected: name === day })));
    const address = `?${new URLSearchParams({ advertiser: id, date: day })}`;
    if (address !== location.search) window.history[write](null, "", address);
  } catch (error) {
    if (turn !== shows) return;
    main.replaceChildren();
    message.textContent = error.message;
  }
}

function showAddress() {
  const asked = new URLSearchParams(location.search);
  advertiser.value = asked.get("advertiser") ?? "";
  date.replaceChildren(element("option", asked.get("date") ?? ""));
  if (advertiser.value) show();
}

async function overview() {
  const published = document.querySelector("#published");
  const link = (id) => element("a", id, { href: `?${new URLSearchParams({ advertiser: id })}` });
  try {
    const { date: newest, published_at, advertisers, totals, most_varying } = await get("stats");
    const { impressions, clicks, views } = totals.day ?? {};
    published.textContent =
      `${newest}, published ${new Date(published_at).toLocaleString()}: ${shown(advertisers)} advertisers, ` +
      `${shown(impressions)} impressions, ${shown(clicks)} clicks, ${shown(views)} views`;
    const row = ({ advertiser_id, replaced_share, days }) => ({ advertiser_id: link(advertiser_id), replaced: percent(replaced_share), days });
    const section = ([model, rows]) => element("section", [element("h2", `Lists of ${model} that vary most`), table(rows.map(row))]);
    document.querySelector("#overview").replaceChildren(...Object.entries(most_varying).map(section));
  } catch (error) {
    published.textContent = error.message;
  }
}

async function suggest() {
  try {
    const { advertisers } = await get("advertisers?limit=10000");
    const options = advertisers.map(({ advertiser_id }) => element("option", [], { value: advertiser_id }));
    document.querySelector("#advertisers").replaceChildren(...options);
    if (shows || advertiser.value) return;
    advertiser.value = (advertisers.find(({ products }) => products) ?? advertisers[0])?.advertiser_id ?? "";
    if (advertiser.value) show();
  } catch (error) {
    if (!shows) message.textContent = error.message;
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  show("pushState");
});
date.addEventListener("change", () => show("pushState"));
window.addEventListener("popstate", showAddress);
showAddress();
overview();
suggest();
