"use strict";

// The page: what is chosen and where z is (`App.state`), and what happens when either changes.
const App = (() => {
  const backend = typeof BACKEND === "undefined" ? Server : BACKEND;
  const CALM = 60; // milliseconds that z rests before its terms are asked for
  const find = (id) => document.getElementById(id);
  // z: where it is; shown: {z, x} of the picture; chosen: the datum {index, label, context, answer}; painted: when, milliseconds
  const state = {description: null, z: null, shown: null, chosen: null, seed: 0, painted: 0};
  const parts = {};

  function fail(error) {
    find("trouble").textContent = error.message;
    find("trouble").hidden = false;
  }

  function well() {
    find("trouble").hidden = true;
  }

  const decoding = new Latest((z, context, moved) => backend.decode([z], context, moved === null ? {} : {follow: moved}), decoded, fail);
  const acting = new Latest((ask) => ask(), (answer, ask, take) => {
    well();
    take(answer);
  }, fail);
  const scoring = new Latest((x, z, context) => backend.terms(x, z, context), (terms) => Score.here(find("here"), terms), fail, CALM);

  function decoded(answer, z, context, moved) {
    well();
    if (answer.z) {
      // Entries that the prior draws after the one that moved have followed it.
      state.z = answer.z[0].with(moved, state.z[moved]);
      place();
    }
    paint(z, answer.x[0]);
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
    if (state.description.can.score && chosen) scoring.push(chosen.answer.x, state.z, parts.conditions.context);
  }

  // Move z by hand; moved: the entry of z, where it is a single one
  function move(z, moved = null) {
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

  function choose(chosen) {
    state.chosen = chosen;
    const {answer} = chosen;
    if (chosen.index !== null) parts.conditions.set(chosen.context);
    parts.datum.show(chosen);
    parts.plane.show({ellipse: answer.ellipse, center: answer.place});
    find("score-part").hidden = !state.description.can.score || !answer.terms;
    if (answer.terms && state.description.can.score) {
      Score.ofX(find("score"), answer.terms);
      find("score-title").textContent = `Score of ${parts.datum.name(chosen)}`;
      find("score-said").textContent = Score.words(answer.terms);
    }
    decoding.cancel();
    state.z = answer.z;
    place();
    decoding.push(answer.z, parts.conditions.context, null);
  }

  function select(index) {
    acting.push(() => backend.datum(index), (answer) => choose({index, label: answer.label, context: answer.context, answer}));
  }

  function edited(x) {
    const {context} = parts.conditions;
    acting.push(() => backend.encode(x, context), (answer) => choose({index: null, label: null, context, answer}));
  }

  function sample() {
    const options = {n: 1, temperature: Number(find("temperature").value), seed: (state.seed += 1), context: parts.conditions.context};
    acting.push(() => backend.sample(options), ({z, x}) => stand(z[0], x[0]));
  }

  function reset() {
    for (const queue of [acting, scoring, decoding]) queue.cancel();
    state.chosen = null;
    parts.walk.clear();
    parts.datum.clear();
    parts.conditions.set(parts.conditions.usual);
    parts.plane.show({ellipse: null, center: null});
    find("score-part").hidden = true;
    find("temperature").value = "1";
    find("temperature-shown").textContent = "1.00";
    if (state.description.latent.movable) move([...state.description.latent.mean]);
    else sample();
  }

  // What lies where z is, for an end of the walk.
  function here() {
    const {chosen, z} = state;
    const there = chosen && chosen.answer.z.every((value, i) => value === z[i]);
    return {z, name: there ? parts.datum.name(chosen) : `z = (${z.slice(0, 3).map((v) => Words.number(v)).join(", ")}${z.length > 3 ? ", \u2026" : ""})`};
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
    if (latent.active === 0) return "No entry is active: the posterior has collapsed, and z tells nothing of x.";
    return `${latent.active} of ${latent.dimensions} active, the one that carries most first; over 3 standard deviations of the prior.`;
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
    parts.sliders = new Sliders(find("sliders"), find("inactive"), latent, (position, value) => move(state.z.with(position, value), position));
    parts.plane = new Plane(find("map"), description, {select: (index) => can.datum && select(index), move: (to) => latent.movable && move(parts.plane.lift(state.z, to))});
    parts.legend = new Legend(find("legend"), description.data, (code) => parts.plane.highlight(code));
    parts.conditions = new Conditions(find("conditions"), description.conditions, () => move(state.z));
    parts.datum = new Datum(find("datum-part"), description, {edited, wanted: select});
    const onWay = (z, x) => {
      acting.cancel();
      stand(z, x);
    };
    const walk = {begin: find("walk-begin"), end: find("walk-end"), kind: find("walk-kind"), position: find("walk-position"), play: find("walk-play"), film: find("film"), note: find("walk-note")};
    parts.walk = new Walk(walk, event, latent, {here, stand: onWay, fail, arrived: showWalk, ask: (options) => backend.path({...options, context: parts.conditions.context})});
    parts.bars = new Picture.Bars(find("decoded-row"), event);
  }

  function words(description) {
    document.title = `${description.name} \u2013 amortized explorer`;
    find("name").textContent = description.name;
    find("headline").textContent = [description.headline, description.missing].filter(Boolean).join(" ");
    find("axes").textContent = axes(description);
    find("latent-note").textContent = note(description);
    const {movable, spherical} = description.latent;
    const uses = [movable && "Drag to move z.", description.can.datum && "Click a point to choose that datum.", "Keys:", movable && "arrows move z,", "Enter chooses the nearest datum."];
    find("map-help").textContent = uses.filter(Boolean).join(" ");
    find("map-help").hidden = !movable && !description.can.datum;
    find("walk").hidden = !movable && !spherical;
    find("datum-part").hidden = !description.can.encode;
    find("sampling").hidden = !description.can.sample;
    find("score-part").hidden = true;
    document.body.dataset.kind = description.event.kind;
  }

  const keys = {s: sample, r: reset, a: () => find("walk-begin").click(), b: () => find("walk-end").click(), "?": () => find("help").showModal()};

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
    find("ask-help").addEventListener("click", keys["?"]);
    find("search").addEventListener("input", columns);
    document.addEventListener("keydown", (event) => {
      const typing = event.target.closest?.("input:not([type=range], [type=checkbox]), select, textarea, dialog");
      if (typing || event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
      keys[event.key]();
      event.preventDefault();
    });
  }

  async function start() {
    try {
      state.description = await backend.description();
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
