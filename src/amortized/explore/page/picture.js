"use strict";

// How a datum x looks: an image on a canvas, or a row as a table of bars.
const Picture = (() => {
  const MOST = 20; // columns of a row that are shown at once
  const {make, near, clamp} = Words;

  function channels(event) {
    return event.shape.length > 2 ? event.shape[2] : 1;
  }

  // The grey levels between which pixels lie; of the values themselves where the data have no bounds.
  function bounds(x, event) {
    if (event.low !== null && event.high !== null) return [event.low, event.high];
    const known = x.filter((value) => value !== null);
    return [event.low ?? Math.min(...known), event.high ?? Math.max(...known)];
  }

  // Paint an image at one canvas pixel per pixel; the style sheet enlarges it. A missing pixel stays transparent.
  function paint(canvas, x, event) {
    const [height, width] = event.shape;
    const depth = channels(event);
    const [low, high] = bounds(x, event);
    canvas.width = width;
    canvas.height = height;
    const drawing = canvas.getContext("2d");
    const pixels = drawing.createImageData(width, height);
    for (let pixel = 0; pixel < width * height; pixel += 1) {
      for (let part = 0; part < 3; part += 1) {
        const value = x[pixel * depth + Math.min(part, depth - 1)];
        pixels.data[4 * pixel + part] = Math.round(255 * clamp((value - low) / (high - low || 1), 0, 1));
      }
      pixels.data[4 * pixel + 3] = x[pixel * depth] === null ? 0 : 255;
    }
    drawing.putImageData(pixels, 0, 0);
    canvas.classList.toggle("holes", x.includes(null));
  }

  function columnName(event, position) {
    const name = event.columns[position] ?? String(position);
    return /^\d+$/.test(name) ? `x${name}` : name;
  }

  // The columns that are shown: those whose name holds what is searched, else those that vary most.
  function columnsOf(event, searched) {
    const order = event.order ?? Array.from({length: event.shape.reduce((a, b) => a * b, 1)}, (_, position) => position);
    const wanted = searched.trim().toLowerCase();
    const found = wanted ? order.filter((position) => columnName(event, position).toLowerCase().includes(wanted)) : order;
    return found.slice(0, MOST);
  }

  // Of a column; one that never varies gets some air.
  function rangeOf(event, position) {
    const [low, high] = event.ranges[position];
    return high > low ? [low, high] : [low - 0.5, high + 0.5];
  }

  function share(value, [low, high]) {
    return `${100 * clamp((value - low) / (high - low), 0, 1)}%`;
  }

  // A table with a bar for each column of a row: what is decoded, and a tick where the datum itself lies.
  class Bars {
    constructor(table, event) {
      Object.assign(this, {table, event, rows: []});
    }

    show(positions) {
      const head = make("tr", {}, ...["column", "range", "decoded"].map((text) => make("th", {scope: "col"}, text)));
      this.rows = positions.map((position) => {
        const [bar, tick] = ["bar", "tick"].map((className) => make("i", {className}));
        const value = make("td", {className: "number"});
        const line = make("td", {className: "range"}, make("div", {className: "track"}, bar, tick));
        const name = columnName(this.event, position);
        const row = make("tr", {}, make("th", {scope: "row", title: name}, name), line, value);
        return {position, bar, tick, value, row};
      });
      this.table.replaceChildren(make("thead", {}, head), make("tbody", {}, ...this.rows.map(({row}) => row)));
    }

    paint(x, datum) {
      for (const {position, bar, tick, value} of this.rows) {
        const range = rangeOf(this.event, position);
        bar.style.width = share(x[position], range);
        value.textContent = near(x[position], (range[1] - range[0]) / 20);
        const known = datum !== null && datum[position] !== null;
        tick.hidden = !known;
        if (known) tick.style.left = share(datum[position], range);
      }
    }
  }

  // What an image shows, for those who do not see it.
  function words(x, event) {
    const [low, high] = bounds(x, event);
    const mean = x.reduce((sum, value) => sum + value, 0) / x.length;
    return `${event.shape.slice(0, 2).join(" by ")} pixels, mean level ${near(mean, (high - low) / 100)} of ${low} to ${high}`;
  }

  return {MOST, paint, bounds, channels, columnName, columnsOf, rangeOf, Bars, words};
})();
