// Numbers, sizes and times as people read them. Nothing here touches the page.

const UNITS = ["", "k", "M", "G", "T", "P"];

// Three digits at most: 0.72, 7.2, 72, 720, 7.2 k.
function digits(value) {
  if (value === 0) return "0";
  if (value < 0.01) return value.toExponential(1);
  return value < 10 ? String(Number(value.toFixed(value < 1 ? 2 : 1))) : String(Math.round(value));
}

export function number(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  let unit = 0;
  let rest = Math.abs(value);
  while (rest >= 999.5 && unit < UNITS.length - 1) {
    rest /= 1000;
    unit += 1;
  }
  const sign = value < 0 ? "−" : "";
  return unit === 0 ? sign + digits(rest) : `${sign}${digits(rest)} ${UNITS[unit]}`;
}

// Every digit, with thousands apart.
export function whole(value) {
  return value === null || value === undefined ? "–" : Number(value).toLocaleString("en-US");
}

export function bytes(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  let unit = 0;
  let rest = value;
  while (rest >= 1023.5 && unit < 4) {
    rest /= 1024;
    unit += 1;
  }
  return `${digits(rest)} ${["B", "KiB", "MiB", "GiB", "TiB"][unit]}`;
}

// A duration: 3 ms, 1.2 s, 4 min, 3 h 20 min.
export function seconds(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  if (value < 0.0005) return "0 ms";
  if (value < 0.9995) return `${digits(value * 1000)} ms`;
  if (value < 60) return `${digits(value)} s`;
  return long(value);
}

// The same, and never less than whole seconds: for what is counted down or up while one looks.
export function wholeSeconds(value) {
  return value < 60 ? `${Math.max(0, Math.floor(value))} s` : long(value);
}

function long(value) {
  const minutes = Math.floor(value / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return minutes % 60 === 0 ? `${hours} h` : `${hours} h ${minutes % 60} min`;
  return `${Math.floor(hours / 24)} d`;
}

export function ago(time, now) {
  const past = (now - time) / 1000;
  return past < 0 ? `in ${wholeSeconds(-past)}` : `${wholeSeconds(past)} ago`;
}

export function until(time, now) {
  const left = (time - now) / 1000;
  return left <= 0 ? "due" : `in ${wholeSeconds(left)}`;
}

// A time of the API, or null where there is none.
export function parse(text) {
  if (!text || text.startsWith("0001-")) return null;
  const time = Date.parse(text);
  return Number.isNaN(time) ? null : time;
}

export function plural(count, one, many = `${one}s`) {
  return `${whole(count)} ${count === 1 ? one : many}`;
}

export function clip(text, length) {
  return text.length <= length ? text : `${text.slice(0, Math.max(1, length - 1))}…`;
}
