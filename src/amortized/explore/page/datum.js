"use strict";

// The datum x that is looked at: one of the data, or one that is drawn or typed; with its reconstruction.
class Datum {
  // part: the section; hooks: edited(x), wanted(index)
  constructor(part, description, hooks) {
    const find = (id) => part.querySelector(`#${id}`);
    const {event, data, can} = description;
    Object.assign(this, {event, data, note: find("datum-note"), index: find("index"), again: find("again")});
    const own = can.datum ? "Choose a datum on the map, or make one of your own here." : "Make one of your own here.";
    this.usual = can.encode ? own : "Choose a datum on the map. This page has no encoder for one of your own.";
    const edited = can.encode ? hooks.edited : null;
    this.editor = event.kind === "image" ? Datum.pad(find, event, edited) : new RowForm(find("row"), event, edited);
    find("choosing").hidden = !can.datum;
    if (data) {
      this.index.max = String(data.count - 1);
      find("count").textContent = `of the ${data.count} of ${data.split} on the map`;
    }
    find("choosing").addEventListener("submit", (submit) => submit.preventDefault());
    this.index.addEventListener("change", () => {
      if (this.index.value !== "" && this.index.reportValidity()) hooks.wanted(Number(this.index.value));
    });
    this.clear();
  }

  static pad(find, event, edited) {
    const parts = {canvas: find("pad"), cursor: find("pad-cursor")};
    for (const name of ["clear", "undo", "erase", "ink"]) parts[name] = find(name);
    if (!edited) {
      find("pad-tools").hidden = parts.canvas.inert = true;
      find("pad-title").textContent = "x";
    }
    return new Pad(parts, event, edited);
  }

  // What a datum is called, in words.
  name({index, label, context}) {
    const hidden = label === null || label === undefined || "label" in (context ?? {});
    const labelled = hidden ? "" : `, label ${Legend.nameOf(this.data, label)}`;
    const given = Object.keys(context ?? {}).length ? `, ${Conditions.words(context)}` : "";
    return index === null ? `your own x${given}` : `datum ${index}${labelled}${given}`;
  }

  // chosen: {index or null, label, context, answer}; the editor is left as it is while one edits
  show(chosen) {
    const {answer, index} = chosen;
    this.note.textContent = `This is ${this.name(chosen)}.`;
    this.index.value = index === null ? "" : String(index);
    if (index !== null) this.editor.set(answer.x);
    if (this.event.kind !== "image") return;
    Picture.paint(this.again, answer.reconstruction, this.event);
    this.again.setAttribute("aria-label", `Its reconstruction: ${Picture.words(answer.reconstruction, this.event)}`);
  }

  clear() {
    this.note.textContent = this.usual;
    this.index.value = "";
    if (this.event.kind !== "image") return;
    this.editor.set(this.editor.blank());
    Picture.paint(this.again, this.editor.blank(), this.event);
  }
}
