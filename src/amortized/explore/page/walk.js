"use strict";

// A walk between two points of the latent space: its two ends, its kind, and where on it one stands.
class Walk {
  static STEPS = 33;
  static FILM = 9; // pictures of the strip
  static PACE = 60; // milliseconds a step; slower where less motion is wished for

  // parts: begin, end, kind, position, play, film, note (the elements)
  // hooks: here() -> {z, name}; ask(options) -> promise of the path; arrived(path); stand(z, x); fail(error)
  constructor(parts, event, latent, hooks) {
    Object.assign(this, parts, {event, hooks, ends: [null, null], path: null, timer: 0});
    this.kind.value = latent.spherical ? "spherical" : "linear";
    this.kind.querySelector("[value=linear]").disabled = latent.spherical;
    this.position.max = String(Walk.STEPS - 1);
    this.asking = new Latest(hooks.ask, (path) => this.arrive(path), hooks.fail);
    this.begin.addEventListener("click", () => this.set(0));
    this.end.addEventListener("click", () => this.set(1));
    this.kind.addEventListener("change", () => this.request());
    this.position.addEventListener("input", () => this.go(Number(this.position.value)));
    this.play.addEventListener("click", () => (this.timer ? this.stop() : this.start()));
    this.tell();
  }

  set(end) {
    this.ends[end] = this.hooks.here();
    this.tell();
    this.hooks.arrived(null, this.ends);
    this.request();
  }

  clear() {
    this.stop();
    this.asking.cancel();
    this.ends = [null, null];
    this.path = null;
    this.film.replaceChildren();
    this.tell();
    this.hooks.arrived(null, this.ends);
  }

  request() {
    this.stop();
    const [begin, end] = this.ends;
    if (begin && end) this.asking.push({begin: begin.z, end: end.z, path: this.kind.value, steps: Walk.STEPS});
  }

  arrive(path) {
    this.path = path;
    this.position.value = "0";
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
    const every = (Walk.STEPS - 1) / (Walk.FILM - 1);
    this.film.replaceChildren(...Array.from({length: Walk.FILM}, (_, k) => {
      const step = Math.round(k * every);
      const canvas = Words.make("canvas", {"aria-hidden": "true"});
      Picture.paint(canvas, this.path.x[step], this.event);
      const button = Words.make("button", {type: "button", "aria-label": `step ${step} of the walk`}, canvas);
      button.addEventListener("click", () => this.go(step));
      return button;
    }));
  }

  go(step) {
    this.position.value = String(step);
    this.position.setAttribute("aria-valuetext", `${Math.round((100 * step) / (Walk.STEPS - 1))}% of the way`);
    this.hooks.stand(this.path.z[step], this.path.x[step]);
  }

  start() {
    const calm = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
    let step = Number(this.position.value);
    if (step >= Walk.STEPS - 1) step = -1;
    this.play.textContent = "Pause";
    this.timer = setInterval(() => {
      step += calm ? 4 : 1;
      this.go(Math.min(step, Walk.STEPS - 1));
      if (step >= Walk.STEPS - 1) this.stop();
    }, calm ? 1000 : Walk.PACE);
  }

  stop() {
    clearInterval(this.timer);
    this.timer = 0;
    this.play.textContent = "Play";
  }
}
