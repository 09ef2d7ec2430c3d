// What is said of the process as a whole: readiness, facts, credentials, destination, losses, problems, configuration.

import { announce, arrange, describe, find, make, moment, set, setMoment, write } from "./elements.js";
import { bytes, number, parse, plural, seconds, whole } from "./texts.js";

let wasReady = null;

export function showStatus(status) {
  const badge = find("readiness");
  write(badge, status.ready ? "ready" : "not ready");
  set(badge, "class", `badge ${status.ready ? "ok" : "bad"}`);
  if (wasReady !== null && wasReady !== status.ready) {
    announce(status.ready ? "The agent is ready." : `The agent is not ready: ${status.notReady.join("; ")}`);
  }
  wasReady = status.ready;
  showReasons(status.notReady.map((reason) => ({ kind: "bad", text: `Not ready: ${reason}` })));
  showFacts(status);
  showCredentials(status);
  showDestination(status);
  showLost(status);
  const total = status.problems.total;
  write(find("problem-count"), total > 0 ? whole(total) : "");
}

// What keeps the agent from its work stands above everything else.
export function showReasons(reasons) {
  arrange(
    find("reasons"),
    reasons,
    (reason) => reason.text,
    () => make("p"),
    (child, reason) => {
      set(child, "class", `notice ${reason.kind}`);
      write(child, reason.text);
    },
  );
}

function showFacts(status) {
  const { metrics } = status;
  const start = metrics.process_start_time_seconds * 1000;
  const facts = [
    ["version", `${status.version} (${status.revision.slice(0, 7)})`],
    ["writer", status.writer ? `writer ${status.writer}` : null],
    ["up", Number.isFinite(start) ? `up ${seconds((parse(status.now) - start) / 1000)}` : null],
    ["memory", `${bytes(metrics.process_resident_memory_bytes)} resident`],
    ["doing", status.doing],
  ];
  arrange(
    find("facts"),
    facts.filter(([, text]) => text !== null),
    ([name]) => name,
    () => make("li"),
    (child, [, text]) => write(child, text),
  );
  document.title = `${status.ready ? "" : "! "}cedana-agent${status.writer ? ` ${status.writer}` : ""}`;
}

function showCredentials(status) {
  const { credentials } = status;
  const refreshes = status.metrics.agent_credentials_refreshes_total ?? {};
  if (credentials === null) {
    describe(find("credentials"), [["Source", "none needed for a directory"]]);
    return;
  }
  const [expires, refreshed] = [parse(credentials.expires), parse(credentials.refreshed)];
  const left = expires === null ? null : (expires - parse(status.now)) / 1000;
  const soon = left !== null && left < 300 ? "warn" : null;
  describe(find("credentials"), [
    ["Source", { cedana: "Cedana API", aws: "AWS chain" }[credentials.source] ?? credentials.source],
    ["Expire", expires === null ? (refreshed === null ? "none yet" : "never") : moment(expires, "until"), left <= 0 ? "bad" : soon],
    ["Refreshed", refreshed === null ? "not yet" : moment(refreshed)],
    ["Attempts", `${whole(refreshes.success ?? 0)} well, ${whole(refreshes.failure ?? 0)} failed`],
    ["Trouble", credentials.failure, "bad long"],
  ]);
}

function showDestination(status) {
  const { place, metrics } = status;
  const uploaded = parse(status.lastUpload);
  const lag = metrics.agent_upload_lag_seconds;
  describe(find("destination"), [
    ["Writes to", place ? [place.bucket, place.prefix].filter(Boolean).join("/") : "not known yet"],
    ["Region", place?.region || null],
    ["Last key", status.lastKey ?? "none yet", "code"],
    ["Delivered", uploaded === null ? "nothing yet" : moment(uploaded)],
    ["Took", uploaded === null ? null : `${seconds(lag)} from seal to receipt`],
    ["Clock", clock(status.clockOffset)],
    ["Trouble", status.uploadTrouble, "bad long"],
  ]);
}

// Servers tell the time in whole seconds.
function clock(offset) {
  if (offset === null) return null;
  const apart = Math.abs(offset);
  return apart < 1.5 ? "servers agree" : `servers ${seconds(apart)} ${offset > 0 ? "ahead" : "behind"}`;
}

// Reasons that are the operator's own wish stand apart from losses.
const WISHED = ["metric_relabel"];

const LOSSES = [
  ["agent_spool_dropped_samples_total", "sample"],
  ["agent_samples_dropped_total", "sample"],
  ["agent_scrapes_skipped_total", "scrape"],
  ["agent_scrapes_refused_total", "scrape"],
];

function showLost(status) {
  const pairs = [];
  for (const [name, one] of LOSSES) {
    for (const [reason, count] of Object.entries(status.metrics[name] ?? {})) {
      if (count > 0) {
        const kind = WISHED.includes(reason) ? null : "warn";
        pairs.push([reason.replaceAll("_", " "), plural(count, one), kind]);
      }
    }
  }
  const lines = status.metrics.agent_lines_bad_total;
  if (lines > 0) pairs.push(["cannot be read", plural(lines, "line"), "warn"]);
  if (pairs.length === 0) pairs.push(["Nothing", "every sample scraped was kept"]);
  describe(find("lost"), pairs);
}

export function showProblems(data) {
  const { problems } = data;
  find("no-problems").hidden = problems.length > 0;
  find("problems").hidden = problems.length === 0;
  arrange(
    find("problem-rows"),
    problems,
    (line) => `${line.level} ${line.first} ${line.text} ${line.fields}`,
    (line) =>
      make(
        "tr",
        {},
        make("td", {}, make("span", { class: `badge ${line.level === "error" ? "bad" : "warn"}` }, line.level)),
        make("td", { class: "nowrap" }, make("time")),
        make("td", { class: "number" }),
        make("td", {}, make("div", { class: "said" }, line.text), make("div", { class: "fields" }, line.fields)),
      ),
    (row, line) => {
      setMoment(row.querySelector("time"), parse(line.last));
      write(row.querySelector("td.number"), number(line.count));
    },
  );
}

export function showConfiguration(data) {
  write(find("configuration"), data.yaml);
  write(find("configuration-source"), data.source);
}
