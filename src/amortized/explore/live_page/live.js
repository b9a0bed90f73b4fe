"use strict";
// The server tells what is new, in events; this page keeps it all and draws it.
// What was drawn last stays when the server is gone.

const run = { rows: [], lines: [], about: null, pictures: null, shown: {}, state: "connecting" };
const at = (id) => document.getElementById(id);
const ENDED = ["finished", "stopped", "failed"];
const NAMES = {
  starting: "starting", training: "training", evaluating: "computing the evidence", finished: "finished", stopped: "stopped",
  failed: "failed", gone: "the server is gone",
};
const SVG = "http://www.w3.org/2000/svg";
let late = false, cursor = null;

function make(tag, text, attributes = {}) {
  const node = document.createElement(tag);
  if (text !== null && text !== undefined) node.textContent = text;
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

function draw(tag, attributes, text) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text !== undefined) node.textContent = text;
  return node;
}

function number(value, digits = 4) {
  if (value === null || value === undefined) return "\u2013";
  const size = Math.abs(value);
  if (size < 1e-12) return "0";
  if ((size < 1e-3 || size >= 1e7)) return value.toExponential(2).replace("-", "\u2212");
  const places = Math.max(0, Math.min(6, digits - 1 - Math.floor(Math.log10(size))));
  return value.toLocaleString("en-US", { maximumFractionDigits: places }).replace("-", "\u2212");
}

function nats(value) {  // to the hundredth, as the command line has them
  if (value === null || value === undefined || Math.abs(value) >= 1e7) return number(value);
  return value.toLocaleString("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 2 }).replace("-", "\u2212");
}

function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  if (hours) return `${hours} h ${minutes} min`;
  return minutes ? `${minutes} min ${rest} s` : `${rest} s`;
}

// ---- how far it is

function showProgress() {
  const state = at("state"), { step = 0, total = 0, done = 0, spent = 0, before = 0 } = run;
  state.textContent = NAMES[run.state] || run.state;
  state.className = `state ${run.state}`;
  const share = total ? (100 * step) / total : 0;
  at("done").style.width = `${share}%`;
  at("bar").setAttribute("aria-valuenow", share.toFixed(0));
  const last = run.rows[run.rows.length - 1];
  const facts = [["step", total ? `${number(step, 9)} of ${number(total, 9)}` : "\u2013"]];
  if (last) facts.push(["epochs", number(last.epoch, 9)]);
  facts.push(["time", duration(before + spent)]);
  if (run.state === "training" && step > done && step < total) {
    facts.push(["time left", `about ${duration((spent * (total - step)) / (step - done))}`]);
  }
  if (run.shown["examples/s"]) facts.push(["examples/s", number(run.shown["examples/s"], 3)]);
  for (const [name, title] of [["elbo", "train ELBO now"], ["rate", "train rate now"], ["distortion", "train distortion now"]]) {
    if (name in run.shown) facts.push([title, `${nats(run.shown[name])} nats`]);
  }
  at("facts").replaceChildren(...facts.map(([name, value]) => {
    const fact = make("div");
    fact.append(make("dt", name), make("dd", value));
    return fact;
  }));
  document.title = `${total ? `${share.toFixed(0)}% ` : ""}${run.about ? run.about.data : ""} \u00b7 ${NAMES[run.state] || ""}`;
}

function showEnding() {
  const ending = at("ending"), folder = run.about && run.about.folder;
  ending.hidden = !(ENDED.includes(run.state) || run.state === "gone");
  ending.className = run.state;
  const kept = folder ? ` The run is in ${folder}.` : "";
  if (run.state === "finished") {
    const { elbo_nats: elbo, nll_nats: nll, bits_per_dim: bits } = run.metrics || {};
    const parts = elbo ? [`ELBO ${nats(elbo.value)} nats`] : [];
    if (nll) parts.push(`\u2212log p(x) about ${nats(nll.value)} nats`);
    if (bits) parts.push(`${number(bits.value)} bits per dimension`);
    const found = parts.length ? ` Test data: ${parts.join(", ")}.` : "";
    ending.textContent = `Finished: ${run.why}.${found}${kept} The server has ended; this page keeps what it shows.`;
  } else if (run.state === "stopped") {
    ending.textContent = `Not finished: ${run.why}.${folder ? ` Go on with: amortized fit --resume ${folder}` : ""}`;
  } else if (run.state === "failed") {
    ending.textContent = `Failed: ${run.why}${kept}`;
  } else {
    const gone = "Nothing is heard from the server any more: training has ended, or was ended.";
    ending.textContent = `${gone} This is the last that it told.${kept}`;
  }
}

// ---- what the model makes

function images(coded, count, [height, width, channels]) {
  const bytes = Uint8Array.from(atob(coded), (letter) => letter.charCodeAt(0));
  return Array.from({ length: count }, (_, index) => {
    const canvas = make("canvas", null, { width, height });
    const image = new ImageData(width, height), first = index * width * height * channels;
    for (let pixel = 0; pixel < width * height; pixel++) {
      const [red, green, blue, opacity = 255] = bytes.subarray(first + pixel * channels, first + (pixel + 1) * channels);
      image.data.set(channels < 3 ? [red, red, red, 255] : [red, green, blue, opacity], 4 * pixel);
    }
    canvas.getContext("2d").putImageData(image, 0, 0);
    return canvas;
  });
}

function strip(title, items) {
  const list = make("div", null, { class: "images", role: "img", "aria-label": title });
  list.append(...items);
  return [make("h3", title), list];
}

function table({ columns, data, made, samples }) {
  const rows = [];
  for (const [index, row] of (data || []).entries()) rows.push(["data", row, "data"], ["made of it", made[index], "made"]);
  for (const row of samples) rows.push(["sample", row, "samples"]);
  const whole = make("table"), head = make("thead"), body = make("tbody"), names = make("tr");
  names.append(make("th", ""), ...columns.map((name) => make("th", name, { scope: "col" })));
  head.append(names);
  for (const [name, values, kind] of rows) {
    const line = make("tr", null, { class: kind });
    line.append(make("td", name), ...values.map((value) => make("td", value === null ? "missing" : number(value))));
    body.append(line);
  }
  whole.append(head, body);
  const scroll = make("div", null, { class: "scroll", tabindex: "0" });
  scroll.append(whole);
  return scroll;
}

function showPictures() {
  const made = run.pictures, parts = [];
  if (!made) return;
  const names = (made.conditions || []).join(", ");
  const given = names ? `, given the ${names} ${made.data ? "of the data above" : "drawn for each"}` : "";
  if (made.kind === "none") {
    parts.push(make("p", `There are no pictures of this model: ${made.why}`, { class: "waiting" }));
  } else if (made.kind === "images") {
    if (made.data) {
      const below = images(made.made, made.count, made.shape);
      const pairs = images(made.data, made.count, made.shape).map((above, index) => {
        const pair = make("div", null, { class: "pair" });
        pair.append(above, below[index]);
        return pair;
      });
      parts.push(...strip("Validation data, and below each what the model makes of it", pairs));
    }
    parts.push(...strip(`Samples: E[x | z] at draws from the prior${given}`, images(made.samples, made.count, made.shape)));
  } else {
    const some = made.width > made.columns.length ? ` The ${made.columns.length} of ${made.width} columns that vary most.` : "";
    const shown = `Validation data, what the model makes of them, and samples (E[x | z] at draws from the prior${given}).`;
    parts.push(make("p", shown + some, { class: "waiting" }), table(made));
  }
  at("pictures").replaceChildren(...parts);
  const kept = `with the weights that were kept, of step ${number(run.kept, 9)}`;
  const when = run.kept === undefined ? `at step ${number(run.pictured, 9)}` : kept;
  at("pictured").textContent = made.kind === "none" ? "" : `${when}; always the same data and the same draws`;
}

// ---- what is heard

function hear(news) {
  const { rows, lines, from, pictures, ...state } = news;
  Object.assign(run, state);
  if ("about" in news) {
    run.lines = [];
    at("data").textContent = run.about.data;
    at("parts").textContent = Object.entries(run.about.parts).map(([name, value]) => `${name} ${value}`).join(" \u00b7 ");
  }
  run.rows.length = from;
  run.rows.push(...rows);
  run.lines.push(...lines);
  if (rows.length || "kept" in news) showCurves();
  if (pictures) run.pictures = pictures;
  if (pictures || "kept" in news) showPictures();
  if (lines.length) at("lines").replaceChildren(...run.lines.map((line) => make("li", line)));
  showProgress();
  showEnding();
}

function lose() {
  if (ENDED.includes(run.state)) return;
  run.state = "gone";
  showProgress();
  showEnding();
}

function listen() {
  const source = new EventSource("events");
  let failures = 0;
  source.onmessage = (event) => {
    failures = 0;
    hear(JSON.parse(event.data));
  };
  source.addEventListener("end", () => {
    source.close();
    lose();
  });
  source.onerror = () => {  // the browser tries again by itself, every few seconds; another run at this address is shown then
    failures += 1;
    if (failures > 20) source.close();
    lose();
  };
}

for (const [id, value] of [["all", false], ["late", true]]) {
  at(id).addEventListener("click", () => {
    late = value;
    at("all").setAttribute("aria-pressed", String(!late));
    at("late").setAttribute("aria-pressed", String(late));
    showCurves();
  });
}
listen();
