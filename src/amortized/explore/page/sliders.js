"use strict";

// One slider per entry of the latent, the one that carries most first, over three standard deviations of the prior.
class Sliders {
  static REACH = 3;

  // change(position, value) is called as a slider moves.
  constructor(list, button, latent, change) {
    Object.assign(this, {list, button, latent, change, rows: new Map(), all: latent.active === 0});
    button.hidden = latent.active === latent.dimensions || latent.active === 0;
    button.addEventListener("click", () => {
      this.all = !this.all;
      this.build();
    });
    this.z = latent.mean;
    this.build();
  }

  build() {
    const {latent} = this;
    const shown = this.all ? latent.order : latent.order.slice(0, latent.active);
    this.rows.clear();
    this.list.replaceChildren(...shown.map((position, rank) => this.row(position, rank)));
    const others = latent.dimensions - latent.active;
    const [one, all] = others === 1 ? ["one", "inactive one"] : ["ones", `${others} inactive ones`];
    this.button.textContent = this.all ? `Hide the inactive ${one}` : `Show the ${all} too`;
    this.button.setAttribute("aria-expanded", String(this.all));
    this.move(this.z);
  }

  row(position, rank) {
    const {latent} = this;
    const {make, number} = Words;
    const reach = Sliders.REACH * (latent.spread[position] || 1);
    const unit = {kl_nats: "KL", variance: "var."}[latent.measure] ?? "";
    const input = make("input", {
      type: "range", id: `z${position}`, step: "any", disabled: !latent.movable,
      min: String(latent.mean[position] - reach), max: String(latent.mean[position] + reach),
    });
    const value = make("output", {for: `z${position}`});
    const title = "what this entry carries of x, on average over the data";
    const carried = make("small", {title}, unit && `${unit} ${number(latent.carried[rank])}`);
    const label = make("label", {for: `z${position}`}, `z${position}`);
    input.addEventListener("input", () => this.change(position, Number(input.value)));
    input.addEventListener("dblclick", () => this.change(position, latent.mean[position]));
    this.rows.set(position, {input, value});
    return make("li", {className: rank < latent.active ? "" : "inactive"}, label, input, value, carried);
  }

  move(z) {
    this.z = z;
    for (const [position, {input, value}] of this.rows) {
      if (Number(input.value) !== z[position]) input.value = String(z[position]);
      value.textContent = Words.number(z[position]);
    }
  }
}
