"use strict";

// The colors of labels, those of the library's figures (Okabe and Ito 2008), and a shape besides for what they do not suffice.
const Colors = (() => {
  const LIGHT = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#F0E442"];
  const DARK = LIGHT.map((color) => (color === "#000000" ? "#FFFFFF" : color));
  const SHAPES = 3;
  const night = window.matchMedia("(prefers-color-scheme: dark)");

  function of(code) {
    if (code === null) return named("faint");
    const palette = night.matches ? DARK : LIGHT;
    return palette[((code % palette.length) + palette.length) % palette.length];
  }

  function shape(code) {
    return Math.floor(Math.abs(code) / LIGHT.length) % SHAPES;
  }

  // A mark of radius r: a disk, a triangle or a square.
  function mark(drawing, x, y, r, code) {
    drawing.beginPath();
    if (shape(code) === 1) {
      drawing.moveTo(x, y - 1.3 * r);
      drawing.lineTo(x + 1.2 * r, y + 0.9 * r);
      drawing.lineTo(x - 1.2 * r, y + 0.9 * r);
      drawing.closePath();
    } else if (shape(code) === 2) drawing.rect(x - 0.9 * r, y - 0.9 * r, 1.8 * r, 1.8 * r);
    else drawing.arc(x, y, r, 0, 2 * Math.PI);
    drawing.fill();
  }

  // A color that the style sheet names.
  function named(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  }

  return {of, mark, named, night};
})();
