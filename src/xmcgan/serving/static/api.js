// Calls of the server. Everything here is its public HTTP API.

const RETRIES = 5;

export class ServerError extends Error {
  constructor(message, { status = 0, param = null, wait = 0 } = {}) {
    super(message);
    Object.assign(this, { status, param, wait });
  }
}

export function setToken(token) {
  sessionStorage.setItem("xmcgan-token", token);
}

async function call(path, body, signal) {
  const token = sessionStorage.getItem("xmcgan-token");
  const headers = { ...(body && { "Content-Type": "application/json" }), ...(token && { Authorization: `Bearer ${token}` }) };
  let answer;
  try {
    answer = await fetch(path, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body), signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServerError("the server cannot be reached");
  }
  if (answer.ok) return answer;
  const { error } = await answer.json().catch(() => ({ error: { message: answer.statusText } }));
  const wait = Number(answer.headers.get("Retry-After"));
  throw new ServerError(error.message, { status: answer.status, param: error.param, wait });
}

// Calls again while the server is busy; `busy` gets the seconds until then.
async function patiently(make, busy, signal) {
  for (let attempt = 0; ; attempt++) {
    try {
      return await make();
    } catch (error) {
      if (error.status !== 429 || attempt === RETRIES) throw error;
      const seconds = Math.min(30, Math.max(1, error.wait));
      busy(seconds);
      await new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
      signal?.throwIfAborted();
    }
  }
}

export async function models() {
  return (await (await call("v1/models")).json()).data;
}

export async function words(prompt, model, signal) {
  return (await (await call("v1/captions", { prompt, model }, signal)).json()).words;
}

// Images as they are drawn: calls `each` with {seed, index, b64_json, words}.
export async function draw(body, each, busy, signal) {
  const request = { ...body, stream: true, include: ["attention"] };
  const answer = await patiently(() => call("v1/images/generations", request, signal), busy, signal);
  for await (const event of events(answer.body)) {
    if (event.type === "error") throw new ServerError(event.error.message);
    each(event);
  }
}

export async function strip(body, busy, signal) {
  return (await patiently(() => call("v1/images/interpolations", body, signal), busy, signal)).json();
}

// The data of server-sent events in a stream.
async function* events(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    text += value;
    const blocks = text.split("\n\n");
    text = blocks.pop();
    for (const block of blocks) {
      const data = block.split("\n").find((line) => line.startsWith("data: "));
      if (data) yield JSON.parse(data.slice(6));
    }
  }
}

export function bytes(base64) {
  return Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
}

// The address of an image's own bytes, for <img> and for saving.
export function pngAddress(base64) {
  return URL.createObjectURL(new Blob([bytes(base64)], { type: "image/png" }));
}
