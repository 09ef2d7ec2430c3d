// The pipeline as a picture: discovery > scrape > worker > journal and spool > upload > destination, with rates of the last half
// minute. The agent gives counters; what they were before is remembered here.

import { draw, find, now, set, write } from "./elements.js";
import { ago, bytes, clip, number, parse, plural, seconds, whole } from "./texts.js";

// How far back a rate looks, and how many readings the small curves show.
const WINDOW = 30_000;
const READINGS_MAX = 60;
// A curve of fewer does not fill its box.
const CURVE_MIN = 20;

// Pixels.
const GAP = 34;
const HEIGHT = 138;
const NARROW = 900;
const NARROW_HEIGHT = 112;

const readings = [];
let boxes = [];
let shape = "";
let latest = null;

// Takes note of a status, and draws what follows from it.
export function showPicture(status) {
  const time = parse(status.now);
  const last = readings.at(-1);
  // A counter that became smaller is another process.
  if (last && status.metrics.process_start_time_seconds !== last.metrics.process_start_time_seconds) readings.length = 0;
  if (readings.at(-1)?.time !== time) readings.push({ time, metrics: status.metrics });
  if (readings.length > READINGS_MAX) readings.shift();
  latest = status;
  redraw();
}

export function watchSize() {
  new ResizeObserver(() => latest && redraw()).observe(find("picture"));
}

// The counter's value: of a mapping or a histogram, the sum.
function count(metrics, name) {
  const value = metrics[name] ?? 0;
  if (typeof value === "number") return value;
  if ("count" in value) return value.count;
  return Object.values(value).reduce((sum, one) => sum + one, 0);
}

// By how much it grew each second. Before the second reading, since the start of the process.
function rate(name, value = count) {
  const end = readings.at(-1);
  const begin = readings.find((reading) => end.time - reading.time <= WINDOW);
  if (begin === end) {
    const since = end.time / 1000 - end.metrics.process_start_time_seconds;
    return since > 0 ? value(end.metrics, name) / since : 0;
  }
  return (value(end.metrics, name) - value(begin.metrics, name)) / ((end.time - begin.time) / 1000);
}

// The same between each reading and the one before.
function curve(name) {
  const growth = (reading, n) => {
    const before = readings[n];
    return (count(reading.metrics, name) - count(before.metrics, name)) / ((reading.time - before.time) / 1000);
  };
  return readings.slice(1).map(growth);
}

function ratio(one, other) {
  return other > 0 ? one / other : null;
}

const sum = (list, field) => list.reduce((total, one) => total + one[field], 0);

// What stands in each box: its title, the figure, lines below it, how it is, and the counter of its curve.
function stages(status) {
  const { jobs, metrics, spool, place } = status;
  const [active, down, dropped] = [sum(jobs, "active"), sum(jobs, "down"), sum(jobs, "dropped")];
  const blind = jobs.filter((job) => job.problems.length > 0 || job.targetLimitExceeded !== null).length;
  const scraped = rate("agent_samples_scraped_total");
  const sealed = rate("agent_object_bytes_total");
  const perSample = ratio(sealed, rate("agent_samples_sealed_total"))
    ?? ratio(count(metrics, "agent_object_bytes_total"), count(metrics, "agent_samples_sealed_total"));
  const full = ratio(spool.bytes, metrics.agent_spool_bytes_max) ?? 0;
  const errors = count(metrics, "agent_upload_errors_total");
  const histogram = (field) => (all, name) => all[name]?.[field] ?? 0;
  const took = ratio(rate("agent_upload_duration_seconds", histogram("sum")), rate("agent_upload_duration_seconds", histogram("count")))
    ?? ratio(metrics.agent_upload_duration_seconds?.sum, metrics.agent_upload_duration_seconds?.count);
  const uploaded = parse(status.lastUpload);
  const journal = rate("agent_journal_bytes_total");
  return [
    {
      title: "Discovery",
      figure: plural(active, "target"),
      lines: [`${plural(jobs.length, "job")}, ${whole(dropped)} dropped`, blind > 0 ? `${plural(blind, "job")} cannot look` : "all sources answer"],
      state: blind > 0 ? "bad" : "ok",
    },
    {
      title: "Scrape",
      figure: `${number(scraped)} samples/s`,
      lines: [`${number(rate("agent_scrapes_total"))} scrapes/s, ${whole(down)} down`, `${bytes(rate("agent_scrape_body_bytes_total"))}/s of text`],
      state: down === 0 ? "ok" : down === active ? "bad" : "warn",
      curve: "agent_samples_scraped_total",
    },
    {
      title: "Worker",
      figure: `${number(metrics.agent_series)} series`,
      lines: [`${number(metrics.agent_batch_samples)} samples open`, perSample === null ? "no object yet" : `${number(perSample)} B a sample sealed`],
      state: rate("agent_lines_bad_total") > 0 ? "warn" : "ok",
      curve: "agent_samples_sealed_total",
    },
    {
      title: "Journal and spool",
      figure: plural(spool.objects, "object"),
      lines: [
        spool.objects > 0 ? `${bytes(spool.bytes)}, ${number(full * 100)} % full` : "nothing waits",
        spool.oldestAge !== null && spool.objects > 0 ? `oldest ${seconds(spool.oldestAge)}` : `journal ${bytes(journal)}/s`,
      ],
      state: full > 0.9 || spool.oldestAge > 300 ? "bad" : full > 0.5 || count(metrics, "agent_journal_errors_total") > 0 ? "warn" : "ok",
    },
    {
      title: "Upload",
      figure: took === null ? "no upload yet" : `${seconds(took)} each`,
      lines: [`${bytes(rate("agent_bytes_uploaded_total"))}/s`, `${whole(errors)} failed of ${whole(errors + count(metrics, "agent_objects_uploaded_total"))}`],
      state: status.uploadTrouble ? "bad" : "ok",
      curve: "agent_samples_uploaded_total",
    },
    {
      title: place && !place.region ? "Directory" : "S3",
      figure: place?.bucket ?? "not known yet",
      lines: [status.lastKey?.split("/").at(-1).replace(".parquet", "") ?? "no key yet", uploaded === null ? "nothing delivered yet" : `delivered ${ago(uploaded, now())}`],
      state: uploaded === null ? "idle" : "ok",
    },
  ];
}

const STATES = { ok: "well", warn: "degraded", bad: "in trouble", idle: "waiting" };
// Not by colour alone.
const MARKS = { ok: "✓", warn: "!", bad: "✕", idle: "…" };

function redraw() {
  const width = Math.max(280, Math.floor(find("picture").clientWidth));
  const all = stages(latest);
  const isNarrow = width < NARROW;
  const wanted = `${width} ${all.length}`;
  if (shape !== wanted) {
    build(width, isNarrow, all.length);
    shape = wanted;
  }
  all.forEach((stage, n) => fillBox(boxes[n], stage));
}

function build(width, isNarrow, stageCount) {
  const boxWidth = isNarrow ? width - 2 : (width - GAP * (stageCount - 1) - 2) / stageCount;
  const boxHeight = isNarrow ? NARROW_HEIGHT : HEIGHT;
  const step = isNarrow ? boxHeight + 22 : boxWidth + GAP;
  const height = isNarrow ? step * stageCount - 22 : boxHeight;
  const svg = draw("svg", { class: "picture", viewBox: `0 0 ${width} ${height + 2}`, width, height: height + 2, role: "list", "aria-label": "Stages of the pipeline" });
  boxes = [];
  for (let n = 0; n < stageCount; n += 1) {
    const [x, y] = isNarrow ? [1, 1 + n * step] : [1 + n * step, 1];
    if (n > 0) svg.append(arrow(x, y, boxWidth, boxHeight, isNarrow));
    const box = buildBox(boxWidth, boxHeight);
    set(box.group, "transform", `translate(${x} ${y})`);
    svg.append(box.group);
    boxes.push(box);
  }
  find("picture").replaceChildren(svg);
}

// The road to the box at this place.
function arrow(x, y, boxWidth, boxHeight, isNarrow) {
  const [a, b] = isNarrow
    ? [`M${x + boxWidth / 2} ${y - 20}V${y - 5}`, `M${x + boxWidth / 2 - 4} ${y - 9}l4 5 4 -5`]
    : [`M${x - GAP + 4} ${y + boxHeight / 2}H${x - 7}`, `M${x - 11} ${y + boxHeight / 2 - 4}l5 4 -5 4`];
  return draw("g", { class: "road", "aria-hidden": "true" }, draw("path", { class: "flow", d: a }), draw("path", { d: b }));
}

function buildBox(width, height) {
  const group = draw("g", { class: "stage", role: "listitem" });
  const line = (y, name) => draw("text", { x: 14, y, class: name });
  const box = {
    group,
    width,
    height,
    mark: draw("text", { x: width - 14, y: 24, class: "mark", "text-anchor": "end" }),
    title: line(24, "title"),
    figure: line(52, "figure"),
    lines: [line(73, "line"), line(91, "line")],
    curve: draw("path", { class: "curve" }),
    area: draw("path", { class: "area" }),
    whole: draw("title"),
  };
  group.append(box.whole, draw("rect", { class: "box", width, height, rx: 10 }), draw("rect", { class: "edge", y: 12, width: 3, height: 16, rx: 1.5 }));
  group.append(box.area, box.curve, box.mark, box.title, box.figure, ...box.lines);
  return box;
}

function fillBox(box, stage) {
  set(box.group, "class", `stage ${stage.state}`);
  const text = `${stage.title}, ${STATES[stage.state]}: ${stage.figure}; ${stage.lines.join("; ")}`;
  set(box.group, "aria-label", text);
  write(box.whole, text);
  write(box.title, stage.title);
  write(box.mark, MARKS[stage.state]);
  fit(box.figure, stage.figure, box.width - 26);
  stage.lines.forEach((line, n) => fit(box.lines[n], line, box.width - 26));
  drawCurve(box, stage.curve ? curve(stage.curve) : []);
}

// As much of a text as has room; the whole of it is in the name of its box.
function fit(place, text, width) {
  if (place.dataset.whole === text) return;
  place.dataset.whole = text;
  write(place, text);
  const length = place.getComputedTextLength();
  if (length > width) write(place, clip(text, Math.floor((text.length * width) / length)));
}

function drawCurve(box, values) {
  const [top, bottom] = [box.height - 34, box.height - 8];
  const most = Math.max(...values, 1e-9);
  if (values.length < 3) {
    set(box.curve, "d", "M0 0");
    set(box.area, "d", "M0 0");
    return;
  }
  const step = (box.width - 28) / (Math.max(CURVE_MIN, values.length) - 1);
  const begin = box.width - 14 - step * (values.length - 1);
  const points = values.map((value, n) => `${(begin + n * step).toFixed(1)} ${(bottom - (Math.max(0, value) / most) * (bottom - top)).toFixed(1)}`);
  set(box.curve, "d", `M${points.join("L")}`);
  set(box.area, "d", `M${begin.toFixed(1)} ${bottom}L${points.join("L")}L${(box.width - 14).toFixed(1)} ${bottom}Z`);
}
