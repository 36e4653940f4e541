// The service's addresses. Errors are its own sentences.

export async function call(path, options = {}) {
  const token = sessionStorage.getItem("token");
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const response = await fetch(path, { ...options, headers });
  if (response.status === 401) {
    const entered = window.prompt("The service's token");
    if (!entered) throw new Error("The service asks for its token.");
    sessionStorage.setItem("token", entered);
    return call(path, options);
  }
  if (!response.ok) {
    const said = await response.json().catch(() => null);
    const error = new Error(said?.error?.message ?? `The service answers ${response.status}.`);
    error.retryAfter = Number(response.headers.get("Retry-After")) || null;
    throw error;
  }
  return response;
}

export async function json(path) {
  return (await call(path)).json();
}

export async function blob(path) {
  return (await call(path)).blob();
}

// Sends an order; where the queue is full it waits as long as the service says.
export async function order(form, isWanted = () => true) {
  for (;;) {
    try {
      return await (await call("api/colorize", { method: "POST", body: form })).json();
    } catch (error) {
      if (!error.retryAfter || !isWanted()) throw error;
      await new Promise((resolve) => setTimeout(resolve, 1000 * error.retryAfter));
    }
  }
}

export async function cancel(job) {
  await call(job.events, { method: "DELETE" }).catch(() => null);
}

// Reads a job's server-sent events to their end; the last state of its pictures.
export async function follow(job, onEvent = () => {}) {
  const reader = (await call(job.events)).body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  let last = null;
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return last;
    const events = (text + value).split("\n\n");
    text = events.pop();
    for (const event of events) {
      const [, name, data] = event.match(/^event: (\w+)\ndata: (.*)$/s);
      const said = JSON.parse(data);
      if (said.pictures) last = said.pictures;
      onEvent(name, said);
    }
  }
}
