// The generator's noise from a seed: Philox4x32-10 and Box-Muller, to the last bit as xmcgan/inference/noise.py, which
// describes it. Only +, -, *, / and sqrt touch a float: their results are the same in every language.

const MAX_SEED = 2 ** 53 - 1;
const LN_2 = 0.6931471805599453;
const HALF_PI = 1.5707963267948966;
const LOG_TERMS = [21, 19, 17, 15, 13, 11, 9, 7, 5, 3].map((odd) => 1 / odd);
const SIN_TERMS = [
  1 / 355687428096000, -1 / 1307674368000, 1 / 6227020800, -1 / 39916800, 1 / 362880, -1 / 5040, 1 / 120, -1 / 6,
];
const COS_TERMS = [
  1 / 20922789888000, -1 / 87178291200, 1 / 479001600, -1 / 3628800, 1 / 40320, -1 / 720, 1 / 24, -1 / 2,
];

// `dim` standard normals of a seed (0 to 2^53 - 1) as a Float32Array, times `truncation` (0 to 1).
export function seededNoise(seed, dim, truncation = 1) {
  if (!Number.isSafeInteger(seed) || seed < 0) throw new Error(`seed is ${seed}; it should be 0 to ${MAX_SEED}`);
  if (!(truncation >= 0 && truncation <= 1)) throw new Error(`truncation is ${truncation}; it should be 0 to 1`);
  const key = [seed % 2 ** 32, Math.floor(seed / 2 ** 32)];
  const noise = new Float32Array(dim);
  for (let block = 0; 4 * block < dim; block++) {
    const [a, b, c, d] = philox([block, 0, 0, 0], key);
    [...boxMuller(a, b), ...boxMuller(c, d)].forEach((normal, place) => {
      if (4 * block + place < dim) noise[4 * block + place] = normal * truncation;
    });
  }
  return noise;
}

// Philox4x32-10: four 32-bit words of a counter of four words under a key of two.
export function philox([a, b, c, d], [left, right]) {
  for (let round = 0; round < 10; round++) {
    const [high0, low0] = product(a, 0xd2511f53);
    const [high1, low1] = product(c, 0xcd9e8d57);
    [a, b, c, d] = [(high1 ^ b ^ left) >>> 0, low1, (high0 ^ d ^ right) >>> 0, low0];
    left = (left + 0x9e3779b9) >>> 0;
    right = (right + 0xbb67ae85) >>> 0;
  }
  return [a, b, c, d];
}

// The upper and lower 32 bits of a product of two 32-bit numbers.
function product(a, b) {
  const [a1, a0, b1, b0] = [a >>> 16, a & 0xffff, b >>> 16, b & 0xffff];
  const middle = a1 * b0 + ((a0 * b0) >>> 16); // below 2^48: exact
  const carried = a0 * b1 + (middle % 65536);
  const high = a1 * b1 + Math.floor(middle / 65536) + Math.floor(carried / 65536);
  return [high >>> 0, Math.imul(a, b) >>> 0];
}

function boxMuller(x, y) {
  const radius = Math.sqrt(-2 * logarithm((x + 0.5) / 4294967296));
  const quarter = y >>> 30;
  const angle = (((y & 0x3fffffff) + 0.5) / 1073741824 - 0.5) * HALF_PI;
  const square = angle * angle;
  const sine = angle + angle * polynomial(SIN_TERMS, square);
  const cosine = 1 + polynomial(COS_TERMS, square);
  const sign = (quarter >= 2 ? -1 : 1) * radius;
  return quarter % 2 ? [sign * -sine, sign * cosine] : [sign * cosine, sign * sine];
}

function logarithm(u) {
  let [mantissa, exponent] = [u, 0];
  while (mantissa < 0.5) [mantissa, exponent] = [2 * mantissa, exponent - 1];
  if (mantissa < 0.7071067811865476) [mantissa, exponent] = [2 * mantissa, exponent - 1];
  const s = (mantissa - 1) / (mantissa + 1);
  return exponent * LN_2 + (2 * s + 2 * s * polynomial(LOG_TERMS, s * s));
}

function polynomial(terms, z) {
  return terms.slice(1).reduce((value, term) => (value + term) * z, terms[0] * z);
}
