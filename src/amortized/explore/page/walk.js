"use strict";

// A walk between two points of the latent space: its two ends, its kind, and where on it one stands.
class Walk {
  static STEPS = 33; // fewer where data are large
  static NUMBERS = 1e6; // of a path's data, at most
  static FILM = 9; // pictures of the strip
  static PACE = 60; // milliseconds a step; slower where less motion is wished for

  // part: the group of its elements
  // hooks: here() -> {z, name}; ask(options) -> promise of the path; arrived(path); stand(z, x); fail(error)
  constructor(part, {event, latent, limits}, hooks) {
    const names = ["begin", "end", "kind", "position", "play", "film", "note"];
    for (const name of names) this[name] = part.querySelector(`#walk-${name}`);
    const entries = event.shape.reduce((a, b) => a * b, 1);
    const most = Math.min(limits?.rows ?? Walk.STEPS, Math.floor(Walk.NUMBERS / entries));
    Object.assign(this, {event, hooks, ends: [null, null], path: null, timer: 0, steps: Words.clamp(most, 2, Walk.STEPS)});
    this.kind.value = latent.spherical ? "spherical" : "linear";
    this.kind.querySelector("[value=linear]").disabled = latent.spherical;
    this.position.max = String(this.steps - 1);
    this.asking = new Latest(hooks.ask, (path) => this.arrive(path), hooks.fail);
    this.begin.addEventListener("click", () => this.set(0));
    this.end.addEventListener("click", () => this.set(1));
    this.kind.addEventListener("change", () => this.request());
    this.position.addEventListener("input", () => this.halt(Number(this.position.value)));
    this.play.addEventListener("click", () => (this.timer ? this.stop() : this.start()));
    this.tell();
  }

  set(end) {
    this.ends[end] = this.hooks.here();
    this.request();
  }

  clear() {
    this.ends = [null, null];
    this.request();
  }

  // Ask for the path between the ends, from its beginning.
  request() {
    this.position.value = "0";
    this.film.replaceChildren();
    this.renew();
    this.hooks.arrived(null, this.ends);
  }

  // Ask for it again, as under other conditions, where one stands on it; there is no path until it arrives.
  renew() {
    this.stop();
    this.asking.cancel();
    this.path = null;
    this.tell();
    const [begin, end] = this.ends;
    if (begin && end) this.asking.push({begin: begin.z, end: end.z, path: this.kind.value, steps: this.steps});
  }

  arrive(path) {
    this.path = path;
    this.tell();
    this.hooks.arrived(path, this.ends);
    if (this.event.kind === "image") this.unroll();
  }

  tell() {
    const named = (end, letter) => (end ? `${letter}: ${end.name}` : `${letter}: not set`);
    const hint = this.ends.every(Boolean) ? "" : " \u2013 choose a datum or move z, then set each end.";
    this.note.textContent = `${named(this.ends[0], "A")}; ${named(this.ends[1], "B")}${hint}`;
    this.position.disabled = this.play.disabled = this.path === null;
  }

  unroll() {
    const count = Math.min(Walk.FILM, this.steps);
    this.film.replaceChildren(...Array.from({length: count}, (_, k) => {
      const step = Math.round((k * (this.steps - 1)) / (count - 1));
      const canvas = Words.make("canvas", {"aria-hidden": "true"});
      Picture.paint(canvas, this.path.x[step], this.event);
      const button = Words.make("button", {type: "button", "aria-label": `step ${step} of the walk`}, canvas);
      button.addEventListener("click", () => this.halt(step));
      return button;
    }));
  }

  go(step) {
    if (this.path === null) return;
    this.position.value = String(step);
    this.position.setAttribute("aria-valuetext", `${Math.round((100 * step) / (this.steps - 1))}% of the way`);
    this.hooks.stand(this.path.z[step], this.path.x[step]);
  }

  // Go there and stay, whether it plays or not.
  halt(step) {
    this.stop();
    this.go(step);
  }

  start() {
    const calm = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
    let step = Number(this.position.value);
    if (step >= this.steps - 1) step = -1;
    this.play.textContent = "Pause";
    this.timer = setInterval(() => {
      step += calm ? 4 : 1;
      this.go(Math.min(step, this.steps - 1));
      if (step >= this.steps - 1) this.stop();
    }, calm ? 1000 : Walk.PACE);
  }

  stop() {
    clearInterval(this.timer);
    this.timer = 0;
    this.play.textContent = "Play";
  }
}
