// Calls of the server. An answer is kept in this browser until the server says that it is saved.

export class Refused extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

export function connect(token, onProblem) {
  const pendingKey = `study-pending-${token.slice(0, 8)}`;

  async function call(name, body) {
    const response = await fetch(`/api/a/${token}/${name}`, {
      method: "POST",
      headers: {"content-type": "application/json"},
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.timeout(15000),
    });
    if (response.ok) return response.json();
    let detail = "The server did not understand.";
    try {
      detail = (await response.json()).detail || detail;
    } catch { /* not JSON: a proxy's page */ }
    throw new Refused(response.status, detail);
  }

  // Tries again for as long as the network or the server is away; a refusal ends it.
  async function insist(name, body) {
    for (let attempt = 0; ; attempt += 1) {
      try {
        const reply = await call(name, body);
        onProblem("");
        return reply;
      } catch (error) {
        const refused = error instanceof Refused && error.status < 500 && error.status !== 429;
        if (refused) {
          onProblem("");
          throw error;
        }
        const what = name === "answer" ? "Your answer is not saved yet" : "The server does not answer";
        if (attempt > 0) onProblem(`${what}. Trying again …`);
        // Apart from each other, so that a server that comes back is not met by everyone at once.
        const pause = Math.min(8000, 400 * 2 ** attempt) * (0.5 + Math.random());
        await new Promise((done) => { setTimeout(done, pause); });
      }
    }
  }

  function stored() {
    try {
      return JSON.parse(localStorage.getItem(pendingKey));
    } catch {
      return null;
    }
  }

  async function answer(body) {
    try {
      localStorage.setItem(pendingKey, JSON.stringify(body));
    } catch { /* private window: only a reload at this very moment could lose the answer */ }
    try {
      return await insist("answer", body);
    } finally {
      localStorage.removeItem(pendingKey);
    }
  }

  return {
    next: () => insist("next"),
    consent: () => insist("consent"),
    introduced: (criterion) => insist("introduced", {criterion}),
    undo: () => insist("undo"),
    report: (key, position) => insist("report", {key, position}),
    answer,
    // What was on its way when the page was closed.
    async resend() {
      const body = stored();
      if (body) await answer(body).catch((error) => { if (!(error instanceof Refused)) throw error; });
    },
  };
}

export const newKey = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
