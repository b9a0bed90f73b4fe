"use strict";

// The backend of a page that `amortized explore` serves: each method asks the API of the same name.
const Server = (() => {
  const GONE = "The server does not answer. Is `amortized explore` still running?";

  async function ask(path, body) {
    const options = body === undefined ? {} : {
      method: "POST",
      headers: {"Content-Type": "application/json"},
      body: JSON.stringify(body),
    };
    let response;
    try {
      response = await fetch(path, options);
    } catch {
      throw new Error(GONE);
    }
    const answer = await response.json().catch(() => ({error: `The server answered with status ${response.status}.`}));
    if (!response.ok) throw new Error(answer.error);
    return answer;
  }

  return {
    description: () => ask("api/description"),
    datum: (n) => ask(`api/datum/${n}`),
    decode: (z, context, more = {}) => ask("api/decode", {z, context, ...more}),
    encode: (x, context) => ask("api/encode", {x, context}),
    terms: (x, z, context) => ask("api/terms", {x, z, context}),
    sample: (options) => ask("api/sample", options),
    path: (options) => ask("api/path", options),
  };
})();
