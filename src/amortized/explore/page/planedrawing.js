"use strict";

// What the map shows, back to front.
const PlaneDrawing = (() => {
  const TURN = 2 * Math.PI;

  function start(plane, canvas) {
    const drawing = canvas.getContext("2d");
    drawing.setTransform(plane.dense, 0, 0, plane.dense, 0, 0);
    drawing.clearRect(0, 0, plane.frame.width, plane.frame.height);
    return drawing;
  }

  function axes(drawing, {frame, flat}) {
    drawing.strokeStyle = Colors.named("line");
    drawing.fillStyle = Colors.named("faint");
    drawing.font = "11px system-ui, sans-serif";
    drawing.lineWidth = 1;
    for (const axis of flat ? [0] : [0, 1]) {
      const ticks = frame.ticks(axis);
      const digits = Math.max(0, Math.ceil(-Math.log10((ticks[1] ?? 1) - (ticks[0] ?? 0)) - 1e-9));
      for (const value of ticks) {
        const [x, y] = frame.canvas(axis === 0 ? [value, 0] : [0, value]);
        drawing.beginPath();
        drawing.moveTo(...(axis === 0 ? [x, 0] : [0, y]));
        drawing.lineTo(...(axis === 0 ? [x, frame.height] : [frame.width, y]));
        drawing.stroke();
        if (axis === 1 ? y > frame.height - 20 : x > frame.width - 12) continue;
        drawing.textAlign = axis === 0 ? "center" : "left";
        drawing.fillText(Words.number(value, digits), axis === 0 ? x : 4, axis === 0 ? frame.height - 5 : y - 3);
      }
    }
  }

  function backdrop(plane) {
    if (!plane.frame) return;
    const drawing = start(plane, plane.backdrop);
    axes(drawing, plane);
    drawing.fillStyle = Colors.named("faint");
    drawing.globalAlpha = 0.3;
    for (const place of plane.prior) {
      drawing.beginPath();
      drawing.arc(...plane.frame.canvas(place), 1.5, 0, TURN);
      drawing.fill();
    }
    plane.places.forEach((place, index) => {
      const code = plane.data.labels ? plane.data.labels[index] : 0;
      drawing.globalAlpha = plane.only === null ? 0.75 : plane.only === code ? 0.95 : 0.07;
      drawing.fillStyle = Colors.of(code);
      Colors.mark(drawing, ...plane.frame.canvas(place), plane.places.length > 1000 ? 2.4 : 3.2, code);
    });
    drawing.globalAlpha = 1;
  }

  function path(drawing, {frame, marks}) {
    if (marks.path) {
      drawing.beginPath();
      for (const place of marks.path) drawing.lineTo(...frame.canvas(place));
      drawing.lineWidth = 2;
      drawing.stroke();
    }
    (marks.ends ?? []).forEach((place, end) => {
      if (!place) return;
      const [x, y] = frame.canvas(place);
      drawing.font = "bold 12px system-ui, sans-serif";
      drawing.textAlign = "center";
      drawing.lineWidth = 4;
      drawing.strokeStyle = Colors.named("paper");
      drawing.strokeText("AB"[end], x, y - 9);
      drawing.fillText("AB"[end], x, y - 9);
      drawing.strokeStyle = Colors.named("ink");
    });
  }

  function ellipse(drawing, {frame, flat, tall}, {center, axes: [first, second]}) {
    drawing.beginPath();
    for (let step = 0; step <= 64; step += 1) {
      const [c, s] = [Math.cos((TURN * step) / 64), Math.sin((TURN * step) / 64)];
      drawing.lineTo(...frame.canvas([0, 1].map((k) => (flat && k ? tall * s : center[k] + c * first[k] + s * second[k]))));
    }
    drawing.lineWidth = 1.5;
    drawing.stroke();
    drawing.globalAlpha = 0.12;
    drawing.fill();
    drawing.globalAlpha = 1;
  }

  // Where z is: a ring with a halo that stands out on every color.
  function point(drawing, [x, y]) {
    for (const [width, color] of [[6, "paper"], [3, "ink"]]) {
      drawing.beginPath();
      drawing.arc(x, y, 8, 0, TURN);
      drawing.lineWidth = width;
      drawing.strokeStyle = Colors.named(color);
      drawing.stroke();
    }
  }

  function front(plane) {
    const {frame, marks} = plane;
    const drawing = start(plane, plane.canvas);
    drawing.drawImage(plane.backdrop, 0, 0, frame.width, frame.height);
    drawing.strokeStyle = drawing.fillStyle = Colors.named("ink");
    path(drawing, plane);
    if (marks.z) {
      const [x, y] = frame.canvas(marks.z);
      const edge = 9;
      point(drawing, [Words.clamp(x, edge, frame.width - edge), Words.clamp(y, edge, frame.height - edge)]);
    }
    drawing.strokeStyle = drawing.fillStyle = Colors.named("ink");
    if (marks.ellipse) ellipse(drawing, plane, marks.ellipse); // over the ring, which would hide a narrow one
    if (marks.center) {
      drawing.beginPath();
      drawing.arc(...frame.canvas(marks.center), 2, 0, TURN);
      drawing.fill();
    }
  }

  return {backdrop, front};
})();
