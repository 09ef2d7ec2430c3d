// The page: what its address says, what it asks the agent for, and when. Only what is in sight is asked for.

import { announce, countAll, find, now, set, setNow } from "./elements.js";
import { showPicture, watchSize } from "./picture.js";
import { showConfiguration, showProblems, showReasons, showStatus } from "./status.js";
import { announceTargets, buildTargets, question, showFilters, showTargets } from "./targets.js";
import { ago, parse } from "./texts.js";

// Milliseconds between two looks, before the second one, after the last key of a search, and for one answer.
const PERIOD = 5_000;
const SECOND_LOOK = 1_500;
const TYPING = 250;
const PATIENCE = 10_000;

const VIEWS = ["targets", "problems", "configuration"];
const DEFAULTS = { view: "targets", job: "", health: "", search: "", sort: "", open: "", page: 0 };

let state = read();
let isLive = true;
let timer = null;
let asked = 0;
let answered = null;

// The state that the address says.
function read() {
  const parameters = new URLSearchParams(location.search);
  const found = { ...DEFAULTS };
  for (const name of Object.keys(DEFAULTS)) {
    if (parameters.has(name)) found[name] = parameters.get(name);
  }
  if (!VIEWS.includes(found.view)) found.view = DEFAULTS.view;
  // People count pages from 1.
  found.page = parameters.has("page") ? Math.max(0, (Number.parseInt(found.page, 10) || 1) - 1) : 0;
  return found;
}

function address() {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(state)) {
    if (value !== DEFAULTS[name]) parameters.set(name, name === "page" ? String(value + 1) : value);
  }
  const query = parameters.toString();
  return query ? `?${query}` : location.pathname;
}

// Goes to another state. What is typed letter by letter is one step back, not many.
function change(to, isTyping = false) {
  state = { ...state, ...to(state) };
  if (isTyping) {
    history.replaceState(null, "", address());
  } else {
    history.pushState(null, "", address());
  }
  showView();
  look(isTyping ? TYPING : 0, true);
}

function showView() {
  for (const view of VIEWS) find(`view-${view}`).hidden = view !== state.view;
  for (const link of document.querySelectorAll("nav.views a")) {
    set(link, "aria-current", link.dataset.view === state.view ? "page" : null);
  }
}

async function ask(path) {
  const answer = await fetch(path, { signal: AbortSignal.timeout(PATIENCE), headers: { accept: "application/json" } });
  const body = await answer.json();
  if (body.status !== "success") throw new Error(body.error);
  return body.data;
}

// Looks after a while; a look that was planned before is forgotten.
function look(wait, isAsked = false) {
  clearTimeout(timer);
  timer = setTimeout(() => refresh(isAsked), wait);
}

async function refresh(isAsked) {
  asked += 1;
  const turn = asked;
  const wanted = { ...state };
  try {
    const [status, view, detail] = await Promise.all([ask("api/v1/status"), askView(wanted), askOpen(wanted)]);
    // Meanwhile something else was asked for.
    if (turn !== asked) return;
    const isFirst = answered === null;
    answered = Date.now();
    setNow(parse(status.now));
    showStatus(status);
    showPicture(status);
    show(wanted, status, view, detail, isAsked);
    if (isLive && !document.hidden) look(isFirst ? SECOND_LOOK : PERIOD);
  } catch (error) {
    if (turn !== asked) return;
    lose(error);
    if (isLive && !document.hidden) look(PERIOD);
  }
}

function askView(wanted) {
  if (wanted.view === "problems") return ask("api/v1/status/problems");
  if (wanted.view === "configuration") return ask("api/v1/status/config");
  return ask(question(wanted));
}

// The labels of the target that is open.
async function askOpen(wanted) {
  if (wanted.view !== "targets" || !wanted.open) return null;
  const data = await ask(`api/v1/targets?${new URLSearchParams({ id: wanted.open })}`);
  return data.activeTargets[0] ?? data.droppedTargets[0] ?? null;
}

function show(wanted, status, view, detail, isAsked) {
  if (wanted.view === "problems") return showProblems(view);
  if (wanted.view === "configuration") return showConfiguration(view);
  showFilters(wanted, status, view.matching);
  showTargets(wanted, status, view, detail);
  if (isAsked) announceTargets(wanted, view);
  return undefined;
}

// The agent has stopped, or the road to it is cut; what was known stays.
function lose(error) {
  const since = answered === null ? "" : `; last answer ${ago(answered, Date.now())}`;
  const why = error.name === "TypeError" ? "it cannot be reached" : error.message;
  showReasons([{ kind: "bad", text: `The agent does not answer: ${why}${since}. Trying again.` }]);
  set(find("readiness"), "class", "badge idle");
  find("readiness").textContent = "no answer";
}

function setLive(on) {
  isLive = on;
  set(find("live"), "aria-pressed", String(on));
  announce(on ? "Live updates on" : "Live updates off");
  if (on) look(0);
  else clearTimeout(timer);
}

function isPlain(press) {
  const isTyping = press.target.closest("input, select, textarea");
  return !isTyping && !press.ctrlKey && !press.metaKey && !press.altKey;
}

function begin() {
  buildTargets(change);
  watchSize();
  showView();
  document.querySelector("nav.views").addEventListener("click", (click) => {
    const link = click.target.closest("a");
    if (!link || click.ctrlKey || click.metaKey || click.shiftKey || click.button !== 0) return;
    click.preventDefault();
    change(() => ({ ...DEFAULTS, view: link.dataset.view }));
  });
  find("live").addEventListener("click", () => setLive(!isLive));
  addEventListener("popstate", () => {
    state = read();
    showView();
    look(0, true);
  });
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && isLive) look(0);
  });
  document.addEventListener("keydown", (press) => {
    if (press.key === "/" && isPlain(press)) {
      press.preventDefault();
      if (state.view !== "targets") change(() => ({ view: "targets" }));
      find("search").focus();
    } else if (press.key === "Escape" && press.target === find("search") && state.search) {
      find("search").value = "";
      change(() => ({ search: "", page: 0 }), true);
    }
  });
  setInterval(() => {
    if (!document.hidden && now()) countAll();
  }, 1000);
  look(0);
}

begin();
