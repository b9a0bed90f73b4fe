"use strict";

// A row of a table to edit: a slider and a number for each column; an empty number is a missing entry. Without `change` it is
// only shown.
class RowForm {
  constructor(list, event, change) {
    Object.assign(this, {list, event, change, rows: []});
    this.x = Array.from({length: event.shape.reduce((a, b) => a * b, 1)}, (_, position) => {
      const [low, high] = Picture.rangeOf(event, position);
      return this.allowed((low + high) / 2);
    });
  }

  // The nearest value that the data could have.
  allowed(value) {
    const {step, low, high, support} = this.event;
    if (value === null) return null;
    if (support === "binary") return value > (low + high) / 2 ? high : low;
    const bounded = Words.clamp(value, low ?? -Infinity, high ?? Infinity);
    return step ? (low ?? 0) + Math.round((bounded - (low ?? 0)) / step) * step : bounded;
  }

  show(positions) {
    this.rows = positions.map((position) => this.row(position));
    this.list.replaceChildren(...this.rows.map(({item}) => item));
    this.set(this.x);
  }

  row(position) {
    const {make, near, number: written} = Words;
    const name = Picture.columnName(this.event, position);
    const [low, high] = Picture.rangeOf(this.event, position);
    const step = this.event.support === "binary" ? this.event.high - this.event.low : this.event.step ?? "any";
    const id = `column${position}`;
    const ends = {step: String(step), min: String(low), max: String(high)};
    const disabled = this.change === null;
    const range = make("input", {type: "range", ...ends, disabled, "aria-label": `${name}, as a slider`});
    const typed = {step: String(step), placeholder: "missing", inputmode: "decimal"};
    const number = make("input", {type: "number", id, disabled, ...typed});
    const whole = this.event.step === 1 && Number.isInteger(low);
    const [least, most] = [low, high].map((end) => (whole ? written(end, 0) : near(end, (high - low) / 20)));
    const span = make("small", {}, `${least} to ${most}`);
    range.addEventListener("input", () => this.edit(position, Number(range.value)));
    number.addEventListener("input", () => {
      if (!number.validity.badInput) this.edit(position, number.value === "" ? null : Number(number.value), number);
    });
    const item = make("li", {}, make("div", {}, make("label", {for: id, title: name}, name), span), range, number);
    return {position, range, number, item, digits: Math.max(0, Math.ceil(2.5 - Math.log10(high - low)))};
  }

  edit(position, value, typed = null) {
    this.x = this.x.with(position, value);
    this.set(this.x, typed);
    this.change(this.x);
  }

  // Show a row; the field in which one types is left alone.
  set(x, typed = null) {
    this.x = x;
    for (const {position, range, number, item, digits} of this.rows) {
      const value = x[position];
      item.classList.toggle("missing", value === null);
      if (value !== null) range.value = String(value);
      if (number !== typed) number.value = value === null ? "" : String(Number(value.toFixed(Math.min(digits, 12))));
    }
  }
}
