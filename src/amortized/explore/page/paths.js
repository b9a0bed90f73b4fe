"use strict";

// Paths between two latents (`amortized.distributions.paths`): the straight one, and one that turns and changes its norm evenly.
const Paths = (() => {
  const TINY = 8 * 2 ** -52;
  const dot = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);
  const norm = (a) => Math.sqrt(dot(a, a));
  const times = (a, factor) => a.map((value) => value * factor);
  const unit = (a) => times(a, 1 / (norm(a) || 1));

  // A direction orthogonal to a unit vector, for ends that point the same way or opposite ways; zero where there is none.
  function orthogonal(u) {
    const least = u.reduce((best, value, i) => (Math.abs(value) < Math.abs(u[best]) ? i : best), 0);
    return unit(u.map((value, i) => (i === least ? 1 : 0) - u[least] * value));
  }

  function linear(a, b, t) {
    return a.map((value, i) => value + t * (b[i] - value));
  }

  function spherical(a, b, t) {
    const [near, far] = [norm(a), norm(b)];
    // A latent at the origin has no direction: it takes the other's, and the path is a ray.
    const u = unit(near > 0 ? a : b);
    const toward = unit(far > 0 ? b : a);
    const cosine = dot(u, toward);
    const rest = toward.map((value, i) => value - cosine * u[i]);
    const sine = norm(rest);
    const angle = Math.atan2(sine, cosine);
    const v = sine > TINY ? times(rest, 1 / sine) : orthogonal(u);
    const length = near + t * (far - near);
    return u.map((value, i) => length * (Math.cos(t * angle) * value + Math.sin(t * angle) * v[i]));
  }

  return {linear, spherical};
})();
