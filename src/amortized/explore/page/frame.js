"use strict";

// Where places of the map lie on its canvas: one unit is as long in both directions, and the data and the prior are in view, so
// that data which lie in a point of the prior are seen to.
class Frame {
  static MARGIN = 30;
  static TRIM = 0.002; // of the values on each side, which may lie out of view

  // groups: lists of places
  constructor(groups, width, height) {
    Object.assign(this, {width, height});
    const [left, right] = Frame.hull(groups.map((places) => places.map(([x]) => x)));
    const [bottom, top] = Frame.hull(groups.map((places) => places.map(([, y]) => y)));
    const room = Frame.MARGIN;
    this.scale = Math.min((width - 2 * room) / (right - left), (height - 2 * room) / (top - bottom));
    this.middle = [(left + right) / 2, (bottom + top) / 2];
  }

  static hull(lists) {
    const extents = lists.filter((values) => values.length).map(Frame.extent);
    return [Math.min(...extents.map(([low]) => low)), Math.max(...extents.map(([, high]) => high))];
  }

  // All but the outermost values on each side, with some air.
  static extent(values) {
    const sorted = [...values].sort((a, b) => a - b);
    const at = (share) => sorted[Math.round(share * (sorted.length - 1))];
    const [low, high] = [at(Frame.TRIM), at(1 - Frame.TRIM)];
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
