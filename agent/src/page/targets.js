// The list of targets: filtered, sorted and cut into pages by the agent, of which only what is shown is asked for.

import { announce, arrange, describe, find, make, moment, set, setMoment, write } from "./elements.js";
import { number, parse, plural, seconds, whole } from "./texts.js";

export const PAGE = 50;

const COLUMNS = [
  ["health", "State"],
  ["instance", "Instance"],
  ["lastScrape", "Last scrape"],
  ["duration", "Took", "number"],
  ["samples", "Samples", "number"],
  ["nextScrape", "Next", "number"],
];

const CONDITIONS = [
  ["", "All"],
  ["down", "Down"],
  ["up", "Up"],
  ["unknown", "Not scraped yet"],
  ["absent", "Not running here"],
  ["dropped", "Dropped"],
];

const STATES = {
  up: ["up", "ok"],
  down: ["down", "bad"],
  unknown: ["not yet", "idle"],
  absent: ["not here", "idle"],
  dropped: ["dropped", "idle"],
};

// What the agent is asked for a state of the address.
export function question(state) {
  const parameters = new URLSearchParams({ labels: "false", limit: String(PAGE), offset: String(state.page * PAGE) });
  if (state.health === "dropped") {
    parameters.set("state", "dropped");
  } else {
    parameters.set("state", "active");
    if (state.health) parameters.set("health", state.health);
    if (state.sort) parameters.set("sort", state.sort);
  }
  if (state.search.trim()) parameters.set("search", state.search.trim());
  if (state.job) parameters.set("scrapePool", state.job);
  return `api/v1/targets?${parameters}`;
}

export function buildTargets(change) {
  for (const [name, title, kind] of COLUMNS) {
    const button = make("button", { type: "button" }, title);
    button.addEventListener("click", () => change((state) => ({ sort: state.sort === name ? `-${name}` : state.sort === `-${name}` ? "" : name, page: 0 })));
    find("columns").append(make("th", { scope: "col", class: kind ?? null, "data-sort": name }, button));
  }
  for (const [name, title] of CONDITIONS) {
    const button = make("button", { type: "button", "data-health": name }, `${title} `, make("span", { class: "count" }));
    button.addEventListener("click", () => change(() => ({ health: name, page: 0 })));
    find("conditions").append(button);
  }
  find("search").addEventListener("input", () => change(() => ({ search: find("search").value, page: 0 }), true));
  find("job").addEventListener("change", () => change(() => ({ job: find("job").value, page: 0 })));
  find("filters").addEventListener("submit", (submit) => submit.preventDefault());
  find("previous").addEventListener("click", () => change((state) => ({ page: Math.max(0, state.page - 1) })));
  find("next").addEventListener("click", () => change((state) => ({ page: state.page + 1 })));
  find("rows").addEventListener("click", (click) => {
    const button = click.target.closest("button.open");
    if (button) change((state) => ({ open: state.open === button.dataset.id ? "" : button.dataset.id }));
  });
}

// The filters as the address has them, and how many targets each would show.
export function showFilters(state, status, matching) {
  if (document.activeElement !== find("search") && find("search").value !== state.search) find("search").value = state.search;
  const names = status.jobs.map((job) => job.scrapePool);
  if (state.job && !names.includes(state.job)) names.push(state.job);
  arrange(
    find("job"),
    ["", ...names],
    (name) => name,
    (name) => make("option", { value: name }, name || "All jobs"),
    () => {},
  );
  if (find("job").value !== state.job) find("job").value = state.job;
  const jobs = status.jobs.filter((job) => !state.job || job.scrapePool === state.job);
  const all = (field) => jobs.reduce((sum, job) => sum + job[field], 0);
  const counts = { "": all("active"), up: all("up"), down: all("down"), unknown: all("unknown"), absent: all("absent"), dropped: all("dropped") };
  if (state.search.trim()) {
    const known = state.health === "dropped" ? ["dropped"] : ["up", "down", "unknown", "absent"];
    for (const name of Object.keys(counts)) counts[name] = known.includes(name) ? matching[name] : null;
    if (state.health !== "dropped") counts[""] = known.reduce((sum, name) => sum + matching[name], 0);
  }
  for (const button of find("conditions").children) {
    const name = button.dataset.health;
    set(button, "aria-pressed", String(state.health === name));
    button.hidden = counts[name] === 0 && state.health !== name && (name === "absent" || name === "unknown");
    write(button.lastElementChild, counts[name] === null ? "" : whole(counts[name]));
    set(button, "class", name === "down" && counts[name] > 0 ? "alarming" : null);
  }
  for (const column of find("columns").children) {
    const direction = { [column.dataset.sort]: "ascending", [`-${column.dataset.sort}`]: "descending" }[state.sort];
    set(column, "aria-sort", state.health === "dropped" ? null : (direction ?? null));
  }
}

// `detail` is the open target with its labels, if it is known yet.
export function showTargets(state, status, data, detail) {
  const targets = [...data.activeTargets, ...data.droppedTargets];
  const isGrouped = state.sort === "" || state.sort === "job";
  const entries = [];
  let job = null;
  for (const target of targets) {
    if (isGrouped && target.scrapePool !== job) {
      job = target.scrapePool;
      entries.push({ key: `job ${job}`, kind: "group", job: status.jobs.find((one) => one.scrapePool === job) ?? { scrapePool: job } });
    }
    entries.push({ key: target.id, kind: "target", target, isOpen: state.open === target.id, isGrouped });
    if (state.open === target.id) entries.push({ key: `detail ${target.id}`, kind: "detail", target, detail });
  }
  arrange(find("rows"), entries, (entry) => entry.key, create, update);
  showRange(state, data, targets.length);
}

function showRange(state, data, shown) {
  const total = state.health === "dropped" ? data.matching.dropped : data.matching.active;
  const first = state.page * PAGE;
  find("targets").hidden = shown === 0;
  find("none").hidden = shown > 0;
  write(find("none"), total > 0 ? "This page is beyond the end of the list." : "No target matches.");
  write(find("range"), shown > 0 ? `${whole(first + 1)}–${whole(first + shown)} of ${plural(total, "target")}` : "");
  set(find("previous"), "disabled", state.page === 0);
  set(find("next"), "disabled", first + shown >= total);
}

export function announceTargets(state, data) {
  const total = state.health === "dropped" ? data.matching.dropped : data.matching.active;
  announce(`${plural(total, "target")} found`);
}

function create(entry) {
  if (entry.kind === "group") {
    return make("tr", { class: "group" }, make("th", { colspan: COLUMNS.length, scope: "rowgroup" }, make("span", { class: "job" }), make("span", { class: "summary" }), make("div", { class: "error" })));
  }
  if (entry.kind === "detail") {
    return make("tr", { class: "detail", id: `detail-${entry.target.id}` }, make("td", { colspan: COLUMNS.length }, make("dl", { class: "facts-list" }), make("div", { class: "label-sets" })));
  }
  const open = make("button", { type: "button", class: "open", "data-id": entry.target.id }, make("span", { class: "instance" }));
  return make(
    "tr",
    { class: "target" },
    make("td", {}, make("span", { class: "badge" })),
    make("th", { scope: "row" }, open, make("span", { class: "place" }), make("div", { class: "error" }), make("div", { class: "warning" })),
    make("td", { class: "nowrap" }, make("time")),
    make("td", { class: "number nowrap" }),
    make("td", { class: "number nowrap" }),
    make("td", { class: "number nowrap" }, make("time")),
  );
}

function update(row, entry) {
  if (entry.kind === "group") return updateGroup(row, entry.job);
  if (entry.kind === "detail") return updateDetail(row, entry);
  return updateTarget(row, entry);
}

function updateGroup(row, job) {
  write(row.querySelector(".job"), job.scrapePool);
  const parts = ["up", "down", "unknown", "absent", "dropped"].filter((name) => job[name] > 0);
  const named = { unknown: "not scraped yet", absent: "not running here" };
  write(row.querySelector(".summary"), parts.map((name) => `${whole(job[name])} ${named[name] ?? name}`).join(", "));
  const problems = [...(job.problems ?? [])];
  if (job.targetLimitExceeded) problems.push(`more targets than target_limit ${job.targetLimitExceeded}: none of them is scraped`);
  write(row.querySelector(".error"), problems.join("\n"));
}

function conditionOf(target) {
  if (target.reason !== undefined) return "dropped";
  return target.absent ? "absent" : target.health;
}

function updateTarget(row, { target, isOpen, isGrouped }) {
  const condition = conditionOf(target);
  const [word, kind] = STATES[condition] ?? [condition, "idle"];
  const badge = row.querySelector(".badge");
  write(badge, word);
  set(badge, "class", `badge ${kind}`);
  const button = row.querySelector("button.open");
  write(button.firstElementChild, target.instance ?? target.address ?? "");
  set(button, "aria-expanded", String(isOpen));
  set(button, "aria-controls", isOpen ? `detail-${target.id}` : null);
  const path = target.scrapeUrl ? pathOf(target.scrapeUrl) : "";
  write(row.querySelector(".place"), isGrouped ? path : `${target.scrapePool} ${path}`);
  const [, , last, took, samples, next] = row.children;
  write(row.querySelector(".error"), condition === "down" ? target.lastError : "");
  const bad = target.badLines > 0 ? `${plural(target.badLines, "line")} could not be read, first ${target.firstBadLine}` : "";
  write(row.querySelector(".warning"), target.reason ?? bad);
  setMoment(last.firstElementChild, parse(target.lastScrape));
  const isScraped = parse(target.lastScrape) !== null;
  write(took, isScraped ? seconds(target.lastScrapeDuration) : "–");
  write(samples, condition === "up" ? number(target.samplesScraped) : "–");
  set(samples, "title", condition === "up" ? `${whole(target.samplesScraped)} scraped, ${whole(target.samplesKept)} kept` : null);
  setMoment(next.firstElementChild, parse(target.nextScrape), "until");
}

// What of a URL the instance does not say already.
function pathOf(text) {
  try {
    const url = new URL(text);
    return url.pathname + url.search;
  } catch {
    return text;
  }
}

function updateDetail(row, { target, detail }) {
  const facts = row.querySelector("dl");
  const isScraped = target.reason === undefined;
  describe(facts, [
    ["Job", target.scrapePool],
    ["URL", isScraped ? link(target.scrapeUrl) : null],
    ["Interval", isScraped ? target.scrapeInterval : null],
    ["Timeout", isScraped ? target.scrapeTimeout : null],
    ["Not scraped", target.reason],
    ["Last scrape", isScraped && parse(target.lastScrape) !== null ? moment(parse(target.lastScrape)) : null],
    ["Samples", target.samplesScraped !== null && isScraped ? `${whole(target.samplesScraped)} scraped, ${whole(target.samplesKept)} kept` : null],
    ["First line that could not be read", target.firstBadLine, "code long"],
    ["Error", target.lastError || null, "bad long"],
  ]);
  const sets = [];
  if (detail?.labels) sets.push(["Labels", detail.labels]);
  if (detail?.discoveredLabels) sets.push([isScraped ? "Before relabelling" : "As discovered", detail.discoveredLabels]);
  arrange(
    row.querySelector(".label-sets"),
    sets,
    ([title]) => title,
    ([title]) => make("section", {}, make("h3", {}, title), make("dl", { class: "labels" })),
    (section, [, labels]) => describe(section.lastElementChild, Object.entries(labels)),
  );
}

// Only what a browser may open as a page becomes a link.
function link(text) {
  const isPage = text.startsWith("http://") || text.startsWith("https://");
  return isPage ? make("a", { href: text, rel: "noreferrer noopener", target: "_blank" }, text) : make("span", {}, text);
}
