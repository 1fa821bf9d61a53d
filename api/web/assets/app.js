// The search page. What comes from the catalog only ever becomes text, never markup.
// The search lives in the address's fragment, which browsers do not send to any server.

const PAGE = 10;
const MAX_OFFSET = 10_000;
const FACETS = 2; // fields offered to narrow down by, and values of each
const VALUES = 5;
const STAGE_WORDS = { lexical: "words", dense: "meaning", fused: "both together", reranked: "close reading" };

const at = (id) => document.getElementById(id);
const PAUSE = 80; // milliseconds without a key before completions are asked for
// Filters are kept in a map: an object has fields of its own, "constructor" for one.
const state = { q: "", filters: new Map(), asTyped: false, shown: 0, asked: 0, typed: 0 };

function chosen(field) {
  return state.filters.get(field) ?? [];
}

function toggle(field, value) {
  const others = chosen(field).filter((each) => each !== value);
  const values = others.length === chosen(field).length ? [...others, value] : others;
  if (values.length) state.filters.set(field, values);
  else state.filters.delete(field);
  remember();
}

function only(field, value) {
  state.filters.set(field, [value]);
}

function remember() {
  const fragment = new URLSearchParams({ q: state.q });
  for (const [field, values] of state.filters) {
    for (const value of values) fragment.append(`f.${field}`, value);
  }
  if (state.asTyped) fragment.set("typed", "1");
  const next = `#${fragment}`;
  if (next === location.hash) search();
  else location.hash = next; // hashchange searches
}

function recall() {
  const fragment = new URLSearchParams(location.hash.slice(1));
  state.q = fragment.get("q") ?? "";
  state.filters = new Map();
  state.asTyped = fragment.get("typed") === "1";
  for (const [name, value] of fragment) {
    if (!name.startsWith("f.")) continue;
    const field = name.slice(2);
    state.filters.set(field, [...chosen(field), value]);
  }
  at("words").value = state.q;
  showFilters();
  if (state.q.trim()) search();
  else clear();
}

function clear() {
  state.asked += 1; // an answer on its way is no longer wanted
  at("hits").replaceChildren();
  at("hits").classList.remove("busy");
  at("more").hidden = at("timings").hidden = at("ways").hidden = at("narrow").hidden = true;
  say("");
}

function say(words, isError = false) {
  at("status").textContent = words;
  at("status").classList.toggle("error", isError);
}

async function search(offset = 0) {
  const asked = ++state.asked;
  at("hits").classList.add("busy");
  const started = performance.now();
  try {
    const answer = await ask({ ...request(), k: PAGE, offset, facets: ["*"] });
    if (asked !== state.asked) return; // a newer search overtook this one
    show(answer, offset, performance.now() - started);
  } catch (error) {
    if (asked !== state.asked) return;
    if (!offset) clear();
    say(error.message, true);
  } finally {
    if (asked === state.asked) at("hits").classList.remove("busy");
  }
}

function request() {
  return { query: state.q, filters: Object.fromEntries(state.filters), understand: !state.asTyped };
}

async function ask(body) {
  let response;
  try {
    response = await fetch("/v1/search", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    });
  } catch {
    throw new Error("The server does not answer. Is it running?");
  }
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.detail ?? answer.title);
  return answer;
}

function show(answer, offset, roundTrip) {
  const items = answer.hits.map(hitItem);
  if (offset) at("hits").append(...items);
  else at("hits").replaceChildren(...items);
  state.shown = offset + items.length;
  at("more").hidden = state.shown >= Math.min(answer.total, MAX_OFFSET) || !items.length;
  say(state.shown ? summary(answer) : emptiness());
  showWays(answer);
  showFacets(answer);
  showTimings(answer, roundTrip);
  if (offset) at("hits").children[offset]?.querySelector("a, button")?.focus({ preventScroll: true });
}

function summary({ total, total_is_least: more, timings, nothing_fits: nothingFits }) {
  if (nothingFits) return `${nothing()} The nearest products:`;
  const spent = Object.values(timings).reduce((sum, each) => sum + each, 0);
  return `Best ${state.shown} of ${total.toLocaleString()}${more ? "+" : ""}, found in ${spent.toFixed(1)} ms`;
}

// What was understood and can be undone, and where to go from here.
function showWays(answer) {
  const ways = [];
  const applied = answer.understood.filter((one) => one.applied).map((one) => one.words);
  if (answer.corrected || applied.length) {
    const read = [answer.corrected ? `“${answer.query}”` : "", ...applied].filter(Boolean).join(", ");
    ways.push(way(`understood: ${read} ✕`, "Search for the words as typed", () => (state.asTyped = true)));
  } else if (answer.did_you_mean) {
    ways.push(way(`did you mean “${answer.did_you_mean}”?`, "", () => (state.q = answer.did_you_mean)));
  }
  for (const { category, products } of answer.shelves) {
    if (chosen("category").includes(category)) continue;
    const words = `${category}: ${products.toLocaleString()}`;
    ways.push(way(words, `Only ${category}`, () => only("category", category)));
  }
  for (const { given_up: givenUp, products, query } of answer.relaxations) {
    const words = `without ${givenUp.join(" and ")}: ${products.toLocaleString()}`;
    ways.push(way(words, "", () => (query ? (state.q = query) : giveUp(givenUp))));
  }
  for (const query of answer.related.slice(0, 3)) ways.push(way(query, "", () => (state.q = query)));
  at("ways").replaceChildren(...ways);
  at("ways").hidden = !ways.length;
}

// Drops the filters that are named; what is none of them stands in the words, which then count as typed.
function giveUp(conditions) {
  const named = new Map(
    Array.from(state.filters, ([field, values]) => [values.map((one) => `${field}=${one}`).join(" or "), field]),
  );
  const dropped = conditions.map((one) => named.get(one));
  for (const field of dropped) state.filters.delete(field);
  state.asTyped ||= dropped.includes(undefined);
}

// The fields that part the result best, by values that are not chosen yet.
function showFacets({ facets }) {
  const named = facets.map(({ field, values }) => ({
    field,
    values: values.filter(({ value }) => value != null && !chosen(field).includes(value)),
  }));
  const shown = named.filter(({ values }) => values.length > 1).slice(0, FACETS);
  const items = shown.flatMap(({ field, values }) =>
    values
      .slice(0, VALUES)
      .map(({ value, count }) =>
        way(`${field} ${value}: ${count.toLocaleString()}`, `Only ${field} ${value}`, () => only(field, value)),
      ),
  );
  at("narrow").replaceChildren(...items);
  at("narrow").hidden = !items.length;
}

function way(words, title, change) {
  const button = document.createElement("button");
  Object.assign(button, { type: "button", className: "chip", textContent: words, title });
  button.addEventListener("click", () => {
    change();
    at("words").value = state.q;
    remember();
  });
  const item = document.createElement("li");
  item.append(button);
  return item;
}

async function complete() {
  const typed = ++state.typed;
  const words = at("words").value;
  await new Promise((resolve) => setTimeout(resolve, PAUSE));
  if (typed !== state.typed || !words.trim()) return;
  const response = await fetch(`/v1/suggest?${new URLSearchParams({ q: words, k: 8 })}`).catch(() => null);
  if (typed !== state.typed || !response?.ok) return;
  const { suggestions } = await response.json();
  const options = suggestions.map(({ text }) => Object.assign(document.createElement("option"), { value: text }));
  at("completions").replaceChildren(...options);
}

// Asked again by its place, where another catalog may have put another product since.
async function explain(line, id, rank) {
  line.replaceChildren("…");
  try {
    const { hits } = await ask({ ...request(), k: 1, offset: rank - 1, explain: true });
    if (hits[0]?.product.id !== id) line.replaceChildren("The results have changed. Search again.");
    else line.replaceChildren(hits[0].explanation.summary || "by no word in particular");
  } catch (error) {
    line.replaceChildren(error.message);
  }
}

function nothing() {
  return state.filters.size
    ? "Nothing behind these filters seems to fit."
    : "Nothing in this catalog seems to fit.";
}

function emptiness() {
  const cure = state.filters.size ? "Take a filter away to see more." : "Try other words.";
  return `Nothing fits. ${cure}`;
}

function hitItem({ product, rank, stages, probabilities }) {
  const item = at("hit").content.firstElementChild.cloneNode(true);
  const part = (selector) => item.querySelector(selector);
  const shelves = product.category ?? [];
  part(".picture").textContent = [...product.title][0]?.toLocaleUpperCase() ?? "";
  part(".picture").style.setProperty("--hue", hue(shelves[0] ?? product.brand ?? product.title));
  part("h2").append(title(product));
  part(".shelf").append(...shelfButtons(shelves));
  part(".rating").append(...rating(product));
  part(".stock").textContent = product.in_stock === false ? "out of stock" : "";
  part(".price").textContent = price(product);
  part(".why span").textContent = why(stages, probabilities);
  part(".why button").addEventListener("click", () => explain(part(".why"), product.id, rank));
  if (product.brand) choose(part(".maker"), "brand", product.brand, product.brand);
  else part(".maker").remove();
  return item;
}

function title(product) {
  const words = document.createTextNode(product.title);
  if (!URL.canParse(product.url ?? "")) return words;
  const address = new URL(product.url);
  if (!["http:", "https:"].includes(address.protocol)) return words;
  const link = document.createElement("a");
  Object.assign(link, { href: address.href, rel: "noopener noreferrer", target: "_blank" });
  link.append(words);
  return link;
}

function shelfButtons(shelves) {
  return shelves.flatMap((shelf, level) => {
    const path = shelves.slice(0, level + 1).join(" > ");
    const button = document.createElement("button");
    button.type = "button";
    choose(button, "category", path, shelf);
    return level ? ["\u00a0› ", button] : [button];
  });
}

function choose(button, field, value, words) {
  button.textContent = words;
  button.title = `Only ${field} ${value}`;
  button.addEventListener("click", () => {
    only(field, value);
    remember();
  });
}

function rating({ rating: stars, rating_count: count }) {
  if (stars == null) return [];
  const number = document.createElement("b");
  number.textContent = `★ ${stars.toLocaleString(undefined, { maximumFractionDigits: 1 })}`;
  return [number, count == null ? "" : ` (${count.toLocaleString()})`];
}

function price({ price: amount, currency }) {
  if (amount == null) return "";
  try {
    return amount.toLocaleString(undefined, { style: "currency", currency });
  } catch {
    return `${amount.toFixed(2)} ${currency ?? ""}`.trim(); // no currency, or not an ISO 4217 code
  }
}

function why(stages, probabilities) {
  const found = ["lexical", "dense"].filter((stage) => stages[stage]);
  const words = found.map((stage) => `${STAGE_WORDS[stage]} #${stages[stage].rank}`);
  if (probabilities) {
    const [name, p] = Object.entries(probabilities).reduce((a, b) => (b[1] > a[1] ? b : a));
    words.push(`${name} ${Math.round(100 * p)}%`);
  }
  return words.length ? `found by ${words.join(" · ")}` : "";
}

function hue(text) {
  let sum = 0;
  for (const letter of text) sum = (sum * 31 + letter.codePointAt(0)) % 360;
  return sum;
}

function showFilters() {
  const chips = [...state.filters].flatMap(([field, values]) =>
    values.map((value) => {
      const button = document.createElement("button");
      Object.assign(button, { type: "button", className: "chip", textContent: `${field}: ${value}` });
      button.setAttribute("aria-label", `Remove the filter ${field}: ${value}`);
      button.addEventListener("click", () => toggle(field, value));
      const item = document.createElement("li");
      item.append(button);
      return item;
    }),
  );
  at("filters").replaceChildren(...chips);
  at("filters").hidden = !chips.length;
}

function showTimings(answer, roundTrip) {
  const rows = Object.entries(answer.timings).map(([name, spent]) => [name, `${spent.toFixed(1)} ms`]);
  rows.push(["round trip", `${roundTrip.toFixed(1)} ms`], ["ranking by", STAGE_WORDS[answer.stage]]);
  rows.push(["snapshot", answer.snapshot_id], ["query id", answer.query_id]);
  if (answer.degraded) rows.push(["degraded", "a stage was left out to answer in time"]);
  const terms = rows.flatMap(([name, value]) => {
    const [term, description] = [document.createElement("dt"), document.createElement("dd")];
    term.textContent = name;
    description.textContent = value;
    return [term, description];
  });
  at("timings").querySelector("dl").replaceChildren(...terms);
  at("timings").hidden = false;
}

async function greet() {
  const response = await fetch("/readyz").catch(() => null);
  if (!response?.ok) {
    at("snapshot").textContent = "The catalog is being opened …";
    setTimeout(greet, 1000);
    return;
  }
  const { products, snapshot_id: id } = await response.json();
  at("snapshot").textContent = `${products.toLocaleString()} products · snapshot ${id}`;
}

at("search").addEventListener("submit", (event) => {
  event.preventDefault();
  if (at("words").value !== state.q) {
    state.filters = new Map(); // other words, another shelf
    state.asTyped = false;
  }
  state.q = at("words").value;
  if (state.q.trim()) remember();
});
at("words").addEventListener("input", complete);
at("more").addEventListener("click", () => search(state.shown));
addEventListener("hashchange", recall);
addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target === at("words")) return;
  event.preventDefault();
  at("words").select();
});
recall();
greet();
