"use strict";
// The learning curves: which there are, and how they are drawn; what is drawn is kept by live.js.

const TITLES = { elbo: "ELBO", rate: "rate, KL(q || p)", distortion: "distortion, \u2212log p(x | z)", objective: "objective" };
const SIZE = { width: 360, height: 176, left: 50, right: 8, top: 8, bottom: 22 };
const frames = new Map();

function panels() {
  const last = run.rows[run.rows.length - 1], found = [];
  const varies = (name) => run.rows.some((row) => row[name] !== run.rows[0][name]);
  const differs = (split) => run.rows.some((row) => {
    const [objective, elbo] = [row[`${split}_objective_nats`], row[`${split}_elbo_nats`]];
    return Math.abs(objective - elbo) > 1e-3 * Math.abs(elbo);
  });
  for (const kind of Object.keys(TITLES)) {
    const series = ["train", "valid"].filter((split) => `${split}_${kind}_nats` in last);
    if (!series.length || (kind === "objective" && "train_elbo_nats" in last && !series.some(differs))) continue;
    found.push({ title: TITLES[kind], unit: "nats", series: series.map((split) => [split, `${split}_${kind}_nats`]) });
  }
  for (const name of Object.keys(last)) {
    const plain = !/_nats$/.test(name) && !["step", "epoch", "seconds"].includes(name) && typeof last[name] === "number";
    if (plain && varies(name)) found.push({ title: name === "lr" ? "learning rate" : name, unit: "", series: [["train", name]] });
  }
  return found;
}

function ticks(low, high, most) {
  const rough = (high - low) / most, power = 10 ** Math.floor(Math.log10(rough));
  const width = power * [1, 2, 5, 10].find((factor) => power * factor >= rough * 0.999), marks = [];
  for (let index = Math.ceil(low / width); index * width <= high + 1e-9 * width; index++) marks.push(index * width);
  return marks;
}

function thinned(points) {  // at most about 800, the least and the greatest of each stretch, so that no peak is lost
  const stretch = Math.ceil(points.length / 400), kept = [];
  if (stretch < 3) return points;
  for (let start = 0; start < points.length; start += stretch) {
    const part = points.slice(start, start + stretch), order = [...part].sort((a, b) => a[1] - b[1]);
    kept.push(...[order[0], order[order.length - 1]].sort((a, b) => a[0] - b[0]));
  }
  kept.push(points[points.length - 1]);
  return kept;
}

function frame(title) {  // what a curve is drawn in: it stays while the curve changes, and so do its listeners
  if (frames.has(title)) return frames.get(title);
  const figure = make("figure", null, { class: "curve" }), caption = make("figcaption");
  const svg = draw("svg", { viewBox: `0 0 ${SIZE.width} ${SIZE.height}`, role: "img" });
  const held = { figure, caption, svg, first: 0, end: 1 };
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect(), place = ((event.clientX - box.left) / box.width) * SIZE.width;
    cursor = held.first + ((place - SIZE.left) / (SIZE.width - SIZE.left - SIZE.right)) * (held.end - held.first);
    showCurves();
  });
  svg.addEventListener("pointerleave", () => {
    cursor = null;
    showCurves();
  });
  figure.append(caption, svg);
  frames.set(title, held);
  return held;
}

function curve(panel, rows) {
  const held = frame(panel.title), { caption, svg } = held, { width, height, left, right, top, bottom } = SIZE;
  const last = rows[rows.length - 1], nearer = (a, b) => (Math.abs(b.step - cursor) < Math.abs(a.step - cursor) ? b : a);
  const shownRow = cursor === null ? last : rows.reduce(nearer);
  caption.replaceChildren(make("b", panel.title));
  for (const [split, name] of panel.series) {
    const value = shownRow[name];
    caption.append(make("span", panel.unit ? nats(value) : number(value, 3), { class: split }));
  }
  if (panel.unit) caption.append(make("small", panel.unit));
  const values = rows.flatMap((row) => panel.series.map(([, name]) => row[name])).filter((value) => Number.isFinite(value));
  let [low, high] = [values.reduce((a, b) => Math.min(a, b), Infinity), values.reduce((a, b) => Math.max(a, b), -Infinity)];
  const margin = (high - low) * 0.05 || Math.abs(high) * 0.05 || 1;
  [low, high] = [low - margin, high + margin];
  const first = rows[0].step, end = rows.length > 1 ? last.step : first + 1;
  const x = (step) => left + ((step - first) / (end - first)) * (width - left - right);
  const y = (value) => top + ((high - value) / (high - low)) * (height - top - bottom);
  const words = panel.series.map(([split, name]) => `${split} ${number(last[name])}`).join(", ");
  svg.setAttribute("aria-label", `${panel.title} over the steps: ${words}`);
  svg.replaceChildren();
  Object.assign(held, { first, end });
  for (const mark of ticks(low, high, 4)) {
    svg.append(draw("line", { class: "grid", x1: left, x2: width - right, y1: y(mark), y2: y(mark) }));
    svg.append(draw("text", { x: left - 5, y: y(mark) + 4, "text-anchor": "end" }, number(mark)));
  }
  const marks = rows.length > 1 ? ticks(first, end, 5).filter(Number.isInteger) : [first];
  for (const mark of marks) {
    const anchor = x(mark) > width - 30 ? "end" : "middle";
    svg.append(draw("text", { x: x(mark), y: height - 6, "text-anchor": anchor }, number(mark, 9)));
  }
  svg.append(draw("text", { x: 2, y: height - 6 }, "step"));
  if (run.kept > first && run.kept < end) {
    svg.append(draw("line", { class: "cursor", x1: x(run.kept), x2: x(run.kept), y1: top, y2: height - bottom }));
    svg.append(draw("text", { x: x(run.kept) - 4, y: height - bottom - 5, "text-anchor": "end" }, "kept"));
  }
  for (const [split, name] of panel.series) {
    const points = rows.filter((row) => Number.isFinite(row[name])).map((row) => [x(row.step), y(row[name])]);
    const path = thinned(points).map(([px, py]) => `${px.toFixed(1)},${py.toFixed(1)}`).join("L");
    if (points.length > 1) svg.append(draw("path", { class: split, d: `M${path}` }));
    if (Number.isFinite(shownRow[name]) && (points.length === 1 || cursor !== null)) {
      svg.append(draw("circle", { class: split, cx: x(shownRow.step), cy: y(shownRow[name]), r: 3.5 }));
    }
  }
  if (cursor !== null) {
    const at = x(shownRow.step);
    svg.append(draw("line", { class: "cursor", x1: at, x2: at, y1: top, y2: height - bottom }));
  }
  return held.figure;
}

function showCurves() {
  const rows = late ? run.rows.filter((row) => row.step >= run.rows[run.rows.length - 1].step / 2) : run.rows;
  if (!rows.length) return;
  const figures = panels().map((panel) => curve(panel, rows)), place = at("curves");
  const others = figures.length !== place.children.length || figures.some((figure, index) => figure !== place.children[index]);
  if (others) place.replaceChildren(...figures);
}
