"use strict";

// An image that one draws on, at the resolution of the data, with a soft brush.
class Pad {
  static UNDONE = 50; // strokes that can be taken back

  // parts: canvas, cursor, clear, undo, erase, ink (the elements); change(x) is called as one draws
  constructor(parts, event, change) {
    Object.assign(this, parts, {event, change, stroke: null, history: [], cell: null, fresh: [0, 1]});
    this.depth = Picture.channels(event);
    [this.height, this.width] = event.shape;
    this.brush = 0.45 + 0.045 * Math.max(this.height, this.width);
    this.ink.closest("label").hidden = this.depth === 1;
    this.set(this.blank());
    const {canvas} = this;
    canvas.addEventListener("pointerdown", (press) => this.down(press));
    canvas.addEventListener("pointermove", (press) => this.stroke && this.line(this.at(press)));
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => this.lift());
    canvas.addEventListener("keydown", (press) => this.key(press));
    canvas.addEventListener("blur", () => this.point(null));
    this.clear.addEventListener("click", () => this.replace(this.blank()));
    this.undo.addEventListener("click", () => this.takeBack());
  }

  get bounds() {
    return [this.event.low ?? this.fresh[0], this.event.high ?? this.fresh[1]];
  }

  blank() {
    return new Array(this.height * this.width * this.depth).fill(this.bounds[0]);
  }

  // Show an image, such as a datum, to draw on.
  set(x) {
    this.soft = [...x];
    this.history = [];
    this.fresh = Picture.bounds(x, this.event);
    if (!(this.fresh[1] > this.fresh[0])) this.fresh = [this.fresh[0], this.fresh[0] + 1];
    this.paint();
  }

  // What is drawn, as the data are: binary by a threshold, levels as whole steps.
  get x() {
    const [low, high] = this.bounds;
    const {support, step} = this.event;
    if (support === "binary") return this.soft.map((value) => (value === null ? null : value > (low + high) / 2 ? high : low));
    if (!step) return this.soft;
    return this.soft.map((value) => (value === null ? null : low + Math.round((value - low) / step) * step));
  }

  paint() {
    Picture.paint(this.canvas, this.x, {...this.event, low: this.bounds[0], high: this.bounds[1]});
    this.undo.disabled = this.history.length === 0;
  }

  keep() {
    this.history.push([...this.soft]);
    if (this.history.length > Pad.UNDONE) this.history.shift();
  }

  replace(soft) {
    this.keep();
    this.soft = soft;
    this.paint();
    this.change(this.x);
  }

  takeBack() {
    if (!this.history.length) return;
    this.soft = this.history.pop();
    this.paint();
    this.change(this.x);
  }

  at(press) {
    const box = this.canvas.getBoundingClientRect();
    return [((press.clientX - box.left) / box.width) * this.width, ((press.clientY - box.top) / box.height) * this.height];
  }

  // The values of the brush's color, one for each channel.
  get color() {
    const [low, high] = this.bounds;
    if (this.erase.checked) return new Array(this.depth).fill(low);
    if (this.depth === 1) return [high];
    const parts = [1, 3, 5].map((start) => parseInt(this.ink.value.slice(start, start + 2), 16) / 255);
    return Array.from({length: this.depth}, (_, part) => low + (parts[part] ?? 1) * (high - low));
  }

  down(press) {
    if (press.button !== 0) return;
    this.canvas.setPointerCapture(press.pointerId);
    this.begin(this.at(press));
  }

  begin(at) {
    this.keep();
    this.stroke = {base: [...this.soft], cover: new Float32Array(this.height * this.width), color: this.color, last: at};
    this.line(at);
  }

  lift() {
    this.stroke = null;
  }

  line(to) {
    const {last} = this.stroke;
    const steps = Math.max(1, Math.ceil(4 * Math.hypot(to[0] - last[0], to[1] - last[1])));
    for (let step = 1; step <= steps; step += 1) {
      this.stamp(last[0] + ((to[0] - last[0]) * step) / steps, last[1] + ((to[1] - last[1]) * step) / steps);
    }
    this.stroke.last = to;
    this.paint();
    this.change(this.x);
  }

  // A stroke covers each pixel as much as its nearest stamp does, so that it does not thicken where one lingers.
  stamp(x, y) {
    const {base, cover, color} = this.stroke;
    const reach = Math.ceil(this.brush + 1);
    for (let row = Math.max(0, Math.floor(y) - reach); row < Math.min(this.height, Math.ceil(y) + reach); row += 1) {
      for (let column = Math.max(0, Math.floor(x) - reach); column < Math.min(this.width, Math.ceil(x) + reach); column += 1) {
        const pixel = row * this.width + column;
        const near = Words.clamp(this.brush + 0.5 - Math.hypot(column + 0.5 - x, row + 0.5 - y), 0, 1);
        if (near <= cover[pixel]) continue;
        cover[pixel] = near;
        for (let part = 0; part < this.depth; part += 1) {
          const old = base[pixel * this.depth + part] ?? this.bounds[0];
          this.soft[pixel * this.depth + part] = old + near * (color[part] - old);
        }
      }
    }
  }

  // By keys: arrows lead a cell, the space bar draws in it.
  key(press) {
    const way = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}[press.key];
    const here = this.cell ?? [Math.floor(this.width / 2), Math.floor(this.height / 2)];
    if (way) {
      this.point([Words.clamp(here[0] + way[0], 0, this.width - 1), Words.clamp(here[1] + way[1], 0, this.height - 1)]);
    } else if (press.key === " ") {
      this.point(here);
      this.begin([here[0] + 0.5, here[1] + 0.5]);
      this.lift();
    } else if (press.key === "z") this.takeBack();
    else return;
    press.preventDefault();
  }

  point(cell) {
    this.cell = cell;
    this.cursor.hidden = cell === null;
    if (cell === null) return;
    const size = {width: 100 / this.width, height: 100 / this.height};
    Object.assign(this.cursor.style, {
      left: `${cell[0] * size.width}%`, top: `${cell[1] * size.height}%`, width: `${size.width}%`, height: `${size.height}%`,
    });
  }
}
