"use strict";

// The backend of an exported page, which no server stands behind: the methods of `Server`, answered by the model's own graphs in
// the browser, and by what the page carries of its data. What that is, the element "carried" says; arrays are base64.
const Local = (() => {
  const carried = JSON.parse(document.getElementById("carried").textContent);
  const {description, latentShape, conditions} = carried;
  const TYPES = {float32: Float32Array, uint8: Uint8Array};
  const entries = description.event.shape.reduce((product, size) => product * size, 1);
  const {dimensions} = description.latent;
  let runtime = null;
  const sessions = new Map();

  function bytes(base64) {
    const text = atob(base64);
    const content = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i += 1) content[i] = text.charCodeAt(i);
    return content;
  }

  function unzipped(id) {
    const element = document.getElementById(id);
    const stream = new Blob([bytes(element.textContent)]).stream().pipeThrough(new DecompressionStream("gzip"));
    element.remove(); // it is read once, and takes megabytes
    return new Response(stream).arrayBuffer();
  }

  async function start() {
    try {
      const ort = await load();
      sessions.set("decoder", await opened(ort, "decoder")); // which the page needs first, and is where a missing SIMD is seen
      return ort;
    } catch (error) {
      const needed = "it needs WebAssembly and DecompressionStream, which browsers have since 2023";
      throw new Error(`This browser cannot compute the model: ${needed} (${error.message}).`);
    }
  }

  async function load() {
    const code = new Blob([await unzipped("runtime-code")], {type: "text/javascript"});
    const address = URL.createObjectURL(code);
    const ort = await import(address);
    URL.revokeObjectURL(address);
    Object.assign(ort.env.wasm, {wasmBinary: await unzipped("runtime-wasm"), numThreads: 1, proxy: false});
    ort.env.logLevel = "error";
    return ort;
  }

  function opened(ort, name) {
    return ort.InferenceSession.create(bytes(carried.graphs[name]));
  }

  // The runtime and one of the model's graphs, each made once, when it is first asked for.
  async function graph(name) {
    runtime ??= start();
    const ort = await runtime;
    if (!sessions.has(name)) sessions.set(name, opened(ort, name));
    return {ort, session: await sessions.get(name)};
  }

  // A session computes one answer at a time.
  let last = Promise.resolve();
  function compute(name, feed) {
    const answer = last.then(async () => {
      const {ort, session} = await graph(name);
      return session.run(feed(ort));
    });
    last = answer.catch(() => {});
    return answer;
  }

  function array({type, shape, data}) {
    const content = bytes(data);
    return {shape, values: new TYPES[type](content.buffer, 0, content.length / TYPES[type].BYTES_PER_ELEMENT)};
  }

  const held = Object.fromEntries(Object.entries(carried.arrays).map(([name, value]) => [name, array(value)]));

  function row(name, n) {
    const {values, shape} = held[name];
    const width = shape.slice(1).reduce((product, size) => product * size, 1);
    return known(values.subarray(n * width, (n + 1) * width));
  }

  // As JSON has numbers: what is missing is null.
  function known(values) {
    return Array.from(values, (value) => (Number.isFinite(value) ? value : null));
  }

  function split(values, count) {
    const width = values.length / count;
    return Array.from({length: count}, (_, n) => known(values.subarray(n * width, (n + 1) * width)));
  }

  function code({name, classes, width, loc}, context, ort, count) {
    const given = context?.[name] ?? (classes ? classes[0] : loc);
    if (!classes) {
      const one = [given].flat().map(Number);
      if (one.length !== width || !one.every(Number.isFinite)) throw new Error(`Condition '${name}' needs ${width} number(s).`);
      return new ort.Tensor("float32", Float32Array.from({length: count * width}, (_, i) => one[i % width]), [count, width]);
    }
    const position = classes.indexOf(String(given));
    if (position < 0) throw new Error(`Condition '${name}' has no class '${given}'.`);
    return new ort.Tensor("int64", new BigInt64Array(count).fill(BigInt(position)), [count]);
  }

  function context(ort, given, count) {
    const one = (condition) => [conditions[condition.name], code(condition, given, ort, count)];
    return Object.fromEntries(description.conditions.map(one));
  }

  function check(what, values, width, holes) {
    const fits = Array.isArray(values) && values.length === width
      && values.every((value) => Number.isFinite(value) || (holes && value === null));
    if (!fits) throw new Error(`${what} needs ${width} finite numbers.`);
  }

  function latents(ort, z) {
    return new ort.Tensor("float32", Float32Array.from(z.flat()), [z.length, ...latentShape]);
  }

  async function decoded(z, given) {
    z.forEach((one) => check("z", one, dimensions, false));
    const {x} = await compute("decoder", (ort) => ({z: latents(ort, z), ...context(ort, given, z.length)}));
    return split(x.data, z.length);
  }

  // follow: the entry that was moved, of a latent of several groups: those that the prior draws after its group follow it.
  async function decode(z, given, {follow} = {}) {
    if (follow === undefined) return {x: await decoded(z, given)};
    const entry = (ort) => new ort.Tensor("int64", new BigInt64Array(z.length).fill(BigInt(follow)), [z.length]);
    const feed = (ort) => ({z: latents(ort, z), entry: entry(ort), ...context(ort, given, z.length)});
    const followed = split((await compute("follower", feed)).followed.data, z.length);
    return {x: await decoded(followed, given), z: followed};
  }

  function place(z) {
    const {origin, axes} = description.plane;
    return axes.map((axis) => axis.reduce((sum, part, i) => sum + part * (z[i] - origin[i]), 0));
  }

  // One standard deviation on the map: half axes of the covariance A A^T of columns A (2, n).
  function ellipse(center, [first, second]) {
    const dot = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);
    const [xx, xy, yy] = [dot(first, first), dot(first, second), dot(second, second)];
    const turn = Math.atan2(2 * xy, xx - yy) / 2;
    const [middle, half] = [(xx + yy) / 2, Math.hypot((xx - yy) / 2, xy)];
    const [long, short] = [Math.sqrt(middle + half), Math.sqrt(Math.max(0, middle - half))];
    const [cos, sin] = [Math.cos(turn), Math.sin(turn)];
    return {center, axes: [[long * cos, long * sin], [-short * sin, short * cos]]};
  }

  function width(center, {stddev, scale_tril: lower}) {
    const {axes} = description.plane;
    if (lower) {
      const column = (axis, j) => axis.reduce((sum, part, i) => sum + part * lower.data[i * dimensions + j], 0);
      return ellipse(center, axes.map((axis) => axis.map((_, j) => column(axis, j))));
    }
    if (!carried.isGaussian || !stddev.data.some((part) => part > 0)) return null;
    return ellipse(center, axes.map((axis) => axis.map((part, i) => part * stddev.data[i])));
  }

  async function encode(x, given) {
    check("x", x, entries, true);
    const values = Float32Array.from(x, (value) => value ?? NaN);
    const answer = await compute("encoder", (ort) => {
      const feed = {x: new ort.Tensor("float32", values, [1, ...description.event.shape])};
      if (carried.takesNoise) feed.noise = latents(ort, [Array(dimensions).fill(0)]);
      return {...feed, ...context(ort, given, 1)};
    });
    const center = known(answer[carried.center].data);
    const z = answer.value ? known(answer.value.data) : center;
    const [reconstruction] = await decoded([z], given);
    const at = place(center);
    const spread = answer.stddev ? known(answer.stddev.data) : null;
    return {z, spread, place: at, ellipse: width(at, answer), x, reconstruction, terms: null};
  }

  async function datum(n) {
    const is = description.data && Number.isInteger(n) && n >= 0 && n < description.data.count;
    if (!is) throw new Error(`There is no datum ${n}.`);
    const {labels, places, conditions: all} = description.data;
    const given = Object.fromEntries(Object.entries(all).map(([name, values]) => [name, values[n]]));
    const z = row("z", n);
    const [reconstruction] = await decoded([z], given);
    const [cx, cy, ax, ay, bx, by] = row("ellipses", n);
    return {
      index: n,
      label: labels?.[n] ?? null,
      context: given,
      z,
      spread: held.spread ? row("spread", n) : null,
      place: places[n],
      ellipse: cx === null ? null : {center: [cx, cy], axes: [[ax, ay], [bx, by]]},
      x: row("x", n),
      reconstruction,
      terms: null,
    };
  }

  // Uniform numbers of a seed (mulberry32), so that the same seed draws the same sample.
  function uniform(seed) {
    let state = (seed * 2654435761 + 1) >>> 0;
    return () => {
      state = (state + 0x6d2b79f5) >>> 0;
      let t = Math.imul(state ^ (state >>> 15), state | 1);
      t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t;
      return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
    };
  }

  async function sample({n = 1, temperature = 1, seed = 0, context: given = {}} = {}) {
    const {mean, spread} = description.latent;
    const draw = uniform(seed);
    const normal = () => Math.sqrt(-2 * Math.log(1 - draw())) * Math.cos(2 * Math.PI * draw());
    let z;
    if (carried.isNormalPrior) {
      z = Array.from({length: n}, () => mean.map((center, i) => Math.fround(center + temperature * spread[i] * normal())));
    } else {
      if (temperature !== 1) throw new Error("This page carries draws from the prior at temperature 1, and no others.");
      const [count] = held.prior.shape;
      z = Array.from({length: n}, () => row("prior", Math.floor(draw() * count)));
    }
    return {z, x: await decoded(z, given), places: z.map(place)};
  }

  function end(given) {
    return Number.isInteger(given) ? row("z", given) : given;
  }

  async function path({begin, end: goal, path: kind = "linear", steps = 16, context: given} = {}) {
    const {movable, spherical, reason} = description.latent;
    if (!movable && (!spherical || kind !== "spherical")) throw new Error(reason);
    const held = given ?? (Number.isInteger(begin) ? (await datum(begin)).context : {});
    const [a, b] = [end(begin), end(goal)];
    [a, b].forEach((z) => check("z", z, dimensions, false));
    const z = Array.from({length: steps}, (_, step) => Paths[kind](a, b, step / (steps - 1)).map(Math.fround));
    return {z, x: await decoded(z, held), places: z.map(place)};
  }

  return {
    description: async () => description,
    decode,
    encode,
    datum,
    sample,
    path,
    terms: async () => {
      throw new Error("This page does not score; `amortized explore` does.");
    },
  };
})();
