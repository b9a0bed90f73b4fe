"use strict";

// Where places of the map lie on its canvas: one unit is as long in both directions, and all data are in view.
class Frame {
  static MARGIN = 30;

  constructor(places, width, height) {
    Object.assign(this, {width, height});
    const [left, right] = Frame.extent(places.map(([x]) => x));
    const [bottom, top] = Frame.extent(places.map(([, y]) => y));
    const room = Frame.MARGIN;
    this.scale = Math.min((width - 2 * room) / (right - left), (height - 2 * room) / (top - bottom));
    this.middle = [(left + right) / 2, (bottom + top) / 2];
  }

  // All but the outermost half percent on each side, with some air.
  static extent(values) {
    if (!values.length) return [-3, 3];
    const sorted = [...values].sort((a, b) => a - b);
    const at = (share) => sorted[Math.round(share * (sorted.length - 1))];
    const [low, high] = [at(0.005), at(0.995)];
    const air = 0.06 * (high - low) || 1;
    return [low - air, high + air];
  }

  canvas([x, y]) {
    return [this.width / 2 + (x - this.middle[0]) * this.scale, this.height / 2 - (y - this.middle[1]) * this.scale];
  }

  place([x, y]) {
    return [this.middle[0] + (x - this.width / 2) / this.scale, this.middle[1] - (y - this.height / 2) / this.scale];
  }

  // Round numbers for an axis (0 or 1), about so many.
  ticks(axis, count = 5) {
    const [low, high] = axis === 0
      ? [this.place([0, 0])[0], this.place([this.width, 0])[0]]
      : [this.place([0, this.height])[1], this.place([0, 0])[1]];
    const rough = (high - low) / count;
    const unit = 10 ** Math.floor(Math.log10(rough));
    const step = unit * ([1, 2, 5].find((factor) => factor * unit >= rough) ?? 10);
    const first = Math.ceil(low / step);
    return Array.from({length: Math.max(0, Math.floor(high / step) - first + 1)}, (_, i) => (first + i) * step);
  }
}
