"use strict";

// What the model is conditioned on: a choice for a condition with classes, a number with a slider for another.
class Conditions {
  static REACH = 3; // standard deviations of the data about their mean

  constructor(form, conditions, change) {
    Object.assign(this, {form, conditions, change, shows: {}, context: {}});
    for (const condition of conditions) this.context[condition.name] = Conditions.usual(condition);
    const fields = conditions.flatMap((condition) => (condition.classes ? [this.choice(condition)] : this.numbers(condition)));
    form.replaceChildren(...fields);
    this.usual = {...this.context};
  }

  static usual({classes, width, loc}) {
    if (classes) return classes[0];
    return width > 1 ? [...loc] : loc[0];
  }

  choice({name, classes}) {
    const {make} = Words;
    const select = make("select", {id: `y-${name}`}, ...classes.map((value) => make("option", {value}, value)));
    select.addEventListener("change", () => this.put(name, select.value));
    this.shows[name] = (value) => {
      select.value = String(value);
    };
    return make("div", {className: "field"}, make("label", {for: `y-${name}`}, name), select);
  }

  numbers({name, width, loc, scale}) {
    const {make} = Words;
    const fields = Array.from({length: width}, (_, entry) => {
      const title = width > 1 ? `${name} ${entry}` : name;
      const reach = Conditions.REACH * (scale[entry] || 1);
      const [min, max] = [String(loc[entry] - reach), String(loc[entry] + reach)];
      const range = make("input", {type: "range", step: "any", min, max, "aria-label": `${title}, as a slider`});
      const number = make("input", {type: "number", step: "any", id: `y-${name}-${entry}`});
      const take = (value) => {
        const values = [this.context[name]].flat();
        values[entry] = value;
        this.put(name, width > 1 ? values : values[0], number);
      };
      range.addEventListener("input", () => take(Number(range.value)));
      number.addEventListener("input", () => number.value !== "" && take(Number(number.value)));
      const item = make("div", {className: "field"}, make("label", {for: number.id}, title), range, number);
      return {range, number, item, scale: scale[entry]};
    });
    this.shows[name] = (value) => [value].flat().forEach((part, entry) => {
      const {range, number, scale: unit} = fields[entry];
      range.value = String(part);
      if (document.activeElement !== number) number.value = Words.near(part, unit / 10).replace("\u2212", "-");
    });
    this.shows[name](this.context[name]);
    return fields.map(({item}) => item);
  }

  put(name, value) {
    this.context = {...this.context, [name]: value};
    this.shows[name](value);
    this.change(this.context);
  }

  // Show conditions that came from elsewhere, such as a datum's.
  set(context) {
    this.context = {...this.context, ...context};
    for (const [name, value] of Object.entries(context)) this.shows[name]?.(value);
  }

  // In words, such as "label = 3".
  static words(context) {
    const said = (value) => (typeof value === "number" ? Words.number(value) : String(value));
    return Object.entries(context).map(([name, value]) => `${name} = ${[value].flat().map(said).join(", ")}`).join("; ");
  }
}
