"use strict";

// The page: what is chosen and where z is (`App.state`), and what happens when either changes.
const App = (() => {
  const backend = typeof BACKEND === "undefined" ? Server : BACKEND;
  const CALM = 60; // milliseconds that z rests before its terms are asked for
  const MEASURED = 64; // samples that tell the range of a column
  const find = (id) => document.getElementById(id);
  // z: where it is; shown: {z, x} of the picture; chosen: the datum {index, label, context, answer}; painted: when (ms)
  const state = {description: null, z: null, shown: null, chosen: null, seed: 0, painted: 0};
  const parts = {};

  function fail(error) {
    find("trouble").textContent = error.message;
    find("trouble").hidden = false;
  }

  function well() {
    find("trouble").hidden = true;
  }

  const decode = (z, context, moved) => backend.decode([z], context, moved === null ? {} : {follow: moved});
  const decoding = new Latest(decode, decoded, fail);
  const acting = new Latest((ask) => ask(), (answer, ask, take) => {
    well();
    take(answer);
  }, fail);
  const scoring = new Latest((x, z, context) => backend.terms(x, z, context), told, fail, CALM);

  // The conditions that are set may be others than those of the datum.
  function told(terms, x, z, context) {
    const given = Object.keys(context).length ? `, given ${Conditions.words(context)}` : "";
    find("here-title").textContent = `At the z on the map${given}, nats`;
    Score.here(find("here"), terms);
  }

  function decoded(answer, z, context, moved) {
    well();
    if (answer.z) {
      // Entries that the prior draws after the one that moved have followed it.
      state.z = answer.z[0].with(moved, state.z[moved]);
      place();
    }
    paint(answer.z ? state.z : z, answer.x[0]);
  }

  function paint(z, x) {
    state.shown = {z, x};
    const {event} = state.description;
    if (event.kind === "image") {
      Picture.paint(find("decoded"), x, event);
      find("decoded").setAttribute("aria-label", `What the decoder makes of z: ${Picture.words(x, event)}`);
    } else parts.bars.paint(x, state.chosen?.answer.x ?? null);
    state.painted = performance.now();
  }

  function place() {
    parts.sliders.move(state.z);
    parts.plane.show({z: parts.plane.project(state.z)});
    const {chosen} = state;
    if (state.description.can.score && chosen?.answer.terms) scoring.push(chosen.answer.x, state.z, parts.conditions.context);
  }

  // Ask for what was wished for by hand, which ends a walk that plays.
  function act(ask, take) {
    parts.walk.stop();
    acting.push(ask, take);
  }

  // Move z by hand; moved: the entry of z, where it is a single one
  function move(z, moved = null) {
    parts.walk.stop();
    acting.cancel();
    state.z = z;
    place();
    decoding.push(z, parts.conditions.context, state.description.latent.follows ? moved : null);
  }

  // Take a z whose picture is known.
  function stand(z, x) {
    decoding.cancel();
    state.z = z;
    place();
    paint(z, x);
  }

  // Take the conditions of a datum.
  function under(context) {
    const {context: before} = parts.conditions;
    parts.conditions.set(context);
    if (JSON.stringify(before) !== JSON.stringify(parts.conditions.context)) parts.walk.renew();
  }

  function choose(chosen) {
    state.chosen = chosen;
    const {answer} = chosen;
    if (chosen.index !== null) under(chosen.context);
    parts.datum.show(chosen);
    parts.plane.show({ellipse: answer.ellipse, center: answer.place});
    score(answer.terms, parts.datum.name(chosen));
    decoding.cancel();
    state.z = answer.z;
    place();
    decoding.push(answer.z, parts.conditions.context, null);
  }

  // The score of what is called so; terms: null where there is none
  function score(terms, name) {
    const none = name ? "This model gives no bound of log p(x)." : "A datum that is chosen or made is scored here.";
    find("terms").hidden = !terms;
    find("score-title").textContent = name ? `Score of ${name}` : "Score";
    find("score-said").classList.toggle("said", Boolean(terms));
    if (terms) {
      Score.ofX(find("score"), terms);
      find("score-said").textContent = Score.words(terms);
    } else find("score-said").textContent = none;
  }

  function select(index) {
    act(() => backend.datum(index), (answer) => choose({index, label: answer.label, context: answer.context, answer}));
  }

  function edited(x) {
    const {context} = parts.conditions;
    act(() => backend.encode(x, context), (answer) => choose({index: null, label: null, context, answer}));
  }

  function sample() {
    state.seed += 1;
    const temperature = Number(find("temperature").value);
    const options = {n: 1, temperature, seed: state.seed, context: parts.conditions.context};
    act(() => backend.sample(options), ({z, x}) => stand(z[0], x[0]));
  }

  function reset() {
    for (const queue of [acting, scoring, decoding]) queue.cancel();
    state.chosen = null;
    parts.walk.clear();
    parts.datum.clear();
    parts.conditions.set(parts.conditions.usual);
    parts.plane.show({ellipse: null, center: null});
    score(null, null);
    find("temperature").value = "1";
    find("temperature-shown").textContent = "1.00";
    if (state.description.latent.movable) move([...state.description.latent.mean]);
    else sample();
  }

  // What lies where z is, for an end of the walk.
  function here() {
    const {chosen, z} = state;
    const there = chosen && chosen.answer.z.every((value, i) => value === z[i]);
    return {z, name: there ? parts.datum.name(chosen) : `z = ${Words.vector(z)}`};
  }

  function showWalk(path, ends) {
    parts.plane.show({path: path?.places ?? null, ends: ends.map((end) => end && parts.plane.project(end.z))});
  }

  function axes({plane, latent}) {
    const named = {
      latent: "Across: z0; up: z1.",
      pca: "Across and up: the first two principal components of the encoded data.",
      one: "Across: z0; the height of a point has no meaning.",
      axes: `Across: z${latent.order[0]}; up: z${latent.order[1]}.`,
    }[plane.kind];
    return `${named} Small grey points: the prior.`;
  }

  function note({latent}) {
    if (latent.reason) return latent.reason;
    if (latent.active === 0 && latent.measure === "response") return "No entry changes what is decoded: z tells nothing of x.";
    if (latent.active === 0) return "No entry is active: the posterior has collapsed, and z tells nothing of x.";
    const {active, dimensions} = latent;
    // Without data it is known what an entry does to the decoder, but not what it carries of them.
    const known = latent.measure === "response"
      ? `${active} of ${dimensions} change what is decoded, the one that does most first`
      : `${active} of ${dimensions} active, the one that carries most first`;
    return `${known}; over ${Sliders.REACH} standard deviations of the prior.`;
  }

  function columns() {
    const {event} = state.description;
    const shown = Picture.columnsOf(event, find("search").value);
    const all = event.shape.reduce((a, b) => a * b, 1);
    find("searching").hidden = all <= Picture.MOST;
    find("searched").textContent = `${shown.length} of ${all}, those that vary most first`;
    parts.datum.editor.show(shown);
    parts.bars.show(shown);
    if (state.shown) paint(state.shown.z, state.shown.x);
  }

  function build(description) {
    const {event, latent, can} = description;
    const slide = (position, value) => move(state.z.with(position, value), position);
    parts.sliders = new Sliders(find("sliders"), find("inactive"), latent, slide);
    parts.plane = new Plane(find("map"), description, {
      select: (index) => can.datum && select(index),
      move: (to) => latent.movable && move(parts.plane.lift(state.z, to)),
    });
    parts.legend = new Legend(find("legend"), description.data, (code) => parts.plane.highlight(code));
    parts.conditions = new Conditions(find("conditions"), description.conditions, () => {
      move(state.z);
      parts.walk.renew();
    });
    parts.datum = new Datum(find("datum-part"), description, {edited, wanted: select});
    const onWay = (z, x) => {
      acting.cancel();
      stand(z, x);
    };
    const ask = (options) => backend.path({...options, context: parts.conditions.context});
    parts.walk = new Walk(find("walk"), description, {here, stand: onWay, fail, arrived: showWalk, ask});
    parts.bars = new Picture.Bars(find("decoded-row"), event);
  }

  function words(description) {
    document.title = `${description.name} \u2013 amortized explorer`;
    find("name").textContent = description.name;
    const missing = description.missing && `The data are not there: ${description.missing}`;
    find("headline").textContent = [description.headline, missing].filter(Boolean).join(" ");
    find("axes").textContent = axes(description);
    find("latent-note").textContent = note(description);
    const {latent: {movable, spherical}, can} = description;
    const move = movable && "Drag, or press the arrow keys, to move z.";
    const choose = can.datum && "Click a point to choose that datum; Enter chooses the nearest one.";
    find("map-help").textContent = [move, choose].filter(Boolean).join(" ");
    find("walk").hidden = !movable && !spherical;
    find("datum-part").hidden = !can.encode && !can.datum;
    find("sampling").hidden = !can.sample;
    find("tempering").hidden = !can.temperature;
    find("score-part").hidden = !can.score;
    document.body.dataset.kind = description.event.kind;
  }

  const help = () => find("help").showModal();

  // What a key does, after the part of the page that must be there for it
  const keys = {
    s: ["sampling", sample],
    r: ["reset", reset],
    a: ["walk", () => find("walk-begin").click()],
    b: ["walk", () => find("walk-end").click()],
    "?": ["ask-help", help],
  };

  function listen() {
    find("sampling").addEventListener("submit", (submit) => {
      submit.preventDefault();
      sample();
    });
    find("conditions").addEventListener("submit", (submit) => submit.preventDefault());
    find("temperature").addEventListener("input", () => {
      find("temperature-shown").textContent = Number(find("temperature").value).toFixed(2);
    });
    find("reset").addEventListener("click", reset);
    find("ask-help").addEventListener("click", help);
    find("search").addEventListener("input", columns);
    document.addEventListener("keydown", (event) => {
      const typing = event.target.closest?.("input:not([type=range], [type=checkbox]), select, textarea, dialog");
      if (typing || event.ctrlKey || event.metaKey || event.altKey || !Object.hasOwn(keys, event.key)) return;
      const [part, press] = keys[event.key];
      if (!find(part).hidden) press();
      event.preventDefault();
    });
  }

  // Where the data are gone, the range of a column is that of what is decoded, between values that the data can have.
  async function measure({event, latent, can, limits}) {
    const options = {n: Math.min(MEASURED, limits?.rows ?? MEASURED), temperature: 1, seed: 0, context: {}};
    const {x} = can.sample ? await backend.sample(options) : await backend.decode([latent.mean], {});
    event.ranges = x[0].map((_, column) => {
      if (event.support === "binary") return [event.low, event.high];
      const values = x.map((row) => row[column]);
      const [low, high] = [Math.min(...values), Math.max(...values)];
      return event.step ? [Math.floor(low / event.step) * event.step, Math.ceil(high / event.step) * event.step] : [low, high];
    });
  }

  async function start() {
    try {
      state.description = await backend.description();
      if (state.description.event.kind !== "image" && !state.description.event.ranges) await measure(state.description);
    } catch (error) {
      return fail(error);
    }
    const {description} = state;
    words(description);
    document.querySelector("main").hidden = false;
    build(description);
    if (description.event.kind !== "image") columns();
    listen();
    state.z = [...description.latent.mean];
    reset();
    if (description.can.datum) select(0);
  }

  return {state, parts, queues: {decoding, acting, scoring}, ready: start()};
})();
