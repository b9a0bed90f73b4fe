"use strict";

// How numbers and names are written, and how elements are made.
const Words = (() => {
  const MINUS = "\u2212";

  function number(value, digits = 2) {
    if (value === null || value === undefined || Number.isNaN(value)) return "\u2013";
    const size = Math.abs(value);
    const large = size >= 1e6 || (size > 0 && size < 0.5 * 10 ** -digits && digits > 2);
    const text = large ? size.toExponential(2) : size.toFixed(size >= 1000 ? Math.min(digits, 1) : digits);
    return (value < 0 && Number(text) !== 0 ? MINUS : "") + text;
  }

  // Enough digits for a step of this size.
  function near(value, step) {
    return number(value, Math.max(0, Math.min(6, Math.ceil(1 - Math.log10(step || 1)))));
  }

  function nats(value, error = null) {
    return `${number(value)}${error === null ? "" : ` \u00b1 ${number(error)}`} nats`;
  }

  // The first entries of a vector.
  function vector(z, most = 3) {
    return `(${z.slice(0, most).map((value) => number(value)).join(", ")}${z.length > most ? ", \u2026" : ""})`;
  }

  // An element; children are elements or texts.
  function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name in element && typeof value !== "string") element[name] = value;
      else element.setAttribute(name === "className" ? "class" : name, value);
    }
    element.append(...children);
    return element;
  }

  const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

  return {number, near, nats, vector, make, clamp};
})();
