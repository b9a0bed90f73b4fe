"use strict";

// The map: a plane through the latent space with the encoded data, the prior's draws behind, and the point where z is.
class Plane {
  static NEAR = 12; // canvas pixels from a datum, within which a click means it
  static STILL = 4; // pixels that a pointer may tremble in a click
  static STEP = 0.02; // of the map's width, for an arrow key

  // handlers: move(place), select(index)
  constructor(canvas, description, handlers) {
    const {plane, data} = description;
    Object.assign(this, {canvas, plane, data, handlers, marks: {}, only: null, press: null});
    this.flat = plane.kind === "one";
    const [left, right] = Frame.extent(plane.prior.map(([x]) => x));
    this.tall = this.flat ? (right - left) / 3 : 1;
    this.places = (data?.places ?? []).map((place, index) => this.spread(place, index));
    this.prior = plane.prior.map((place, index) => this.spread(place, index));
    this.backdrop = document.createElement("canvas");
    new ResizeObserver(() => this.resize()).observe(canvas);
    Colors.night.addEventListener("change", () => this.resize());
    for (const kind of ["down", "move", "up", "cancel"]) canvas.addEventListener(`pointer${kind}`, (event) => this[kind](event));
    canvas.addEventListener("keydown", (event) => this.key(event));
  }

  // A latent of one entry has no second axis: its data are strewn over it, each always at the same height.
  spread([x, y], index) {
    return this.flat ? [x, this.tall * (((index * 0.61803) % 1) * 2 - 1)] : [x, y];
  }

  project(z) {
    const {origin, axes} = this.plane;
    return axes.map((axis) => axis.reduce((sum, part, i) => sum + part * (z[i] - origin[i]), 0));
  }

  // z moved within the plane, so that it lies at this place; what stands out of the plane stays.
  lift(z, place) {
    const here = this.project(z);
    const {axes} = this.plane;
    return z.map((value, i) => value + axes.reduce((sum, axis, k) => sum + axis[i] * (place[k] - here[k]), 0));
  }

  resize() {
    const {clientWidth: width, clientHeight: height} = this.canvas;
    if (!width) return;
    const dense = window.devicePixelRatio || 1;
    for (const canvas of [this.canvas, this.backdrop]) {
      canvas.width = Math.round(width * dense);
      canvas.height = Math.round(height * dense);
    }
    this.dense = dense;
    this.frame = new Frame([this.places, this.prior], width, height);
    PlaneDrawing.backdrop(this);
    this.draw();
  }

  // marks: z (place), ellipse, datum (index), path (places), ends ([place, place])
  show(marks) {
    Object.assign(this.marks, marks);
    this.draw();
  }

  highlight(code) {
    this.only = code;
    PlaneDrawing.backdrop(this);
    this.draw();
  }

  draw() {
    if (this.frame) PlaneDrawing.front(this);
  }

  at(event) {
    const box = this.canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  down(event) {
    if (event.button !== 0) return;
    this.press = {from: this.at(event), moved: false};
    this.canvas.setPointerCapture(event.pointerId);
  }

  move(event) {
    if (this.press === null) return;
    const [x, y] = this.at(event);
    if (Math.hypot(x - this.press.from[0], y - this.press.from[1]) > Plane.STILL) this.press.moved = true;
    if (this.press.moved) this.handlers.move(this.frame.place([x, y]));
  }

  up(event) {
    if (this.press === null) return;
    const {moved} = this.press;
    this.press = null;
    if (moved) return;
    const at = this.at(event);
    const {index, distance} = this.nearest(at);
    if (index !== null && distance < Plane.NEAR) this.handlers.select(index);
    else this.handlers.move(this.frame.place(at));
  }

  cancel() {
    this.press = null;
  }

  // The datum nearest to a point of the canvas, among those of the label that is alone in view.
  nearest([x, y]) {
    let [index, distance] = [null, Infinity];
    this.places.forEach((place, position) => {
      if (this.only !== null && this.data.labels[position] !== this.only) return;
      const [px, py] = this.frame.canvas(place);
      const far = this.flat ? Math.abs(px - x) + Math.abs(py - y) / 8 : Math.hypot(px - x, py - y);
      if (far < distance) [index, distance] = [position, far];
    });
    return {index, distance};
  }

  key(event) {
    const way = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1]}[event.key];
    const here = this.marks.z;
    if (way && here) {
      const step = (this.frame.width / this.frame.scale) * Plane.STEP * (event.shiftKey ? 0.2 : 1);
      this.handlers.move([here[0] + way[0] * step, here[1] + way[1] * step]);
    } else if (event.key === "Enter" && here && this.places.length) {
      this.handlers.select(this.nearest(this.frame.canvas(here)).index);
    } else return;
    event.preventDefault();
  }
}
