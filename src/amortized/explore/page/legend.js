"use strict";

// The labels with their colors; one that is pressed is seen alone.
class Legend {
  static MOST = 24; // labels that are listed

  constructor(box, data, choose) {
    Object.assign(this, {box, choose, only: null});
    const codes = [...new Set((data?.labels ?? []).filter((code) => code !== null))].sort((a, b) => a - b);
    const items = codes.slice(0, Legend.MOST).map((code) => this.item(code, Legend.nameOf(data, code)));
    const rest = codes.length - items.length;
    box.replaceChildren(...items, ...(rest > 0 ? [Words.make("span", {className: "hint"}, `and ${rest} more`)] : []));
    box.hidden = !items.length;
    this.paint();
    Colors.night.addEventListener("change", () => this.paint());
  }

  static nameOf(data, code) {
    return data.label_names[code] ?? String(code);
  }

  item(code, name) {
    const swatch = Words.make("canvas", {"aria-hidden": "true"});
    const button = Words.make("button", {type: "button", "aria-pressed": "false"}, swatch, name);
    button.dataset.code = String(code);
    button.addEventListener("click", () => {
      this.only = this.only === code ? null : code;
      for (const other of this.box.querySelectorAll("button")) {
        other.setAttribute("aria-pressed", String(this.only !== null && other.dataset.code === String(this.only)));
      }
      this.choose(this.only);
    });
    return button;
  }

  paint() {
    for (const button of this.box.querySelectorAll("button")) {
      const swatch = button.querySelector("canvas");
      swatch.width = swatch.height = 24;
      const drawing = swatch.getContext("2d");
      drawing.fillStyle = Colors.of(Number(button.dataset.code));
      Colors.mark(drawing, 12, 12, 8, Number(button.dataset.code));
    }
  }
}
