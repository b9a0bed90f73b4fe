"use strict";

// The terms of the ELBO, as bars from zero, each with a line that says what it is.
const Score = (() => {
  const {make, nats, number, clamp} = Words;

  const OF_X = [
    ["log_px_z_nats", "E log p(x|z)", "How well the latents that q(z|x) draws explain x, on average."],
    ["kl_nats", "\u2212KL(q \u2016 p)", "What it costs to know z: how far q(z|x) is from the prior p(z)."],
    ["elbo_nats", "ELBO", "The sum of the two: a lower bound of log p(x)."],
    ["log_px_nats", "log p(x)", "Estimated by importance sampling; above the ELBO by the inference gap."],
  ];
  const DOUBTFUL = "Estimated by importance sampling, and likely too low: so much hangs on a few draws that more would raise it.";
  const HERE = [
    ["log_px_z_nats", "log p(x|z)", "How well the z on the map explains x."],
    ["log_ratio", "log p(z) \u2212 log q(z|x)", "How plausible this z is before x is seen, against after."],
    ["elbo_here_nats", "their sum", "The log importance weight of this z; averaged over q(z|x), the ELBO."],
  ];

  function lines(table, rows, errors) {
    const known = rows.map(([, , , value]) => value).filter((value) => value !== null);
    const [low, high] = [Math.min(0, ...known), Math.max(0, ...known)];
    const at = (value) => (100 * (clamp(value, low, high) - low)) / (high - low || 1);
    table.replaceChildren(make("tbody", {}, ...rows.flatMap(([key, title, words, value]) => {
      const bar = make("i", {className: value < 0 ? "bar" : "bar plus"});
      bar.style.left = `${at(Math.min(0, value))}%`;
      bar.style.width = `${at(Math.max(0, value)) - at(Math.min(0, value))}%`;
      const text = value === null ? "not known" : number(value) + (errors[key] == null ? "" : ` \u00b1 ${number(errors[key])}`);
      const line = make("td", {className: "range"}, make("div", {className: "track"}, bar));
      return [
        make("tr", {}, make("th", {scope: "row"}, title), line, make("td", {className: "number"}, text)),
        make("tr", {}, make("td", {className: "words", colSpan: 3}, words)),
      ];
    })));
  }

  // The error of log p(x), where it says how far the estimate may be off.
  const errorOf = (terms) => (terms.is_doubtful ? null : terms.stderr_nats);

  // terms: of `encode`
  function ofX(table, terms) {
    const value = (key) => (key === "kl_nats" ? -terms.kl_nats : terms[key] ?? null);
    const said = (key, words) => (key === "log_px_nats" && terms.is_doubtful ? DOUBTFUL : words);
    const rows = OF_X.map(([key, title, words]) => [key, title, said(key, words), value(key)]);
    lines(table, rows, {log_px_nats: errorOf(terms)});
  }

  // terms: of `terms`
  function here(table, terms) {
    const known = terms.log_pz_nats !== null && terms.log_qz_nats !== null;
    const values = {...terms, log_ratio: known ? terms.log_pz_nats - terms.log_qz_nats : null};
    lines(table, HERE.map(([key, ...words]) => [key, ...words, values[key] ?? null]), {});
  }

  function words(terms) {
    const least = terms.is_doubtful ? "at least about " : "";
    const evidence = terms.log_px_nats === null ? "" : `, log p(x) ${least}${nats(terms.log_px_nats, errorOf(terms))}`;
    return `ELBO ${nats(terms.elbo_nats)}${evidence}.`;
  }

  return {ofX, here, words};
})();
