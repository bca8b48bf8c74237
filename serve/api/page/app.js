// The page: chat with the base or an adapter, or with two of them side by side.
const $ = (id) => document.getElementById(id);
const state = { models: [], columns: [], abort: null };

// key is kept for this tab only.
$("key").value = sessionStorage.getItem("key") || "";
$("key").addEventListener("change", () => { sessionStorage.setItem("key", $("key").value); refresh(); });

async function call(path, body, signal) {
  const headers = {};
  if ($("key").value) headers.Authorization = "Bearer " + $("key").value;
  if (body) headers["Content-Type"] = "application/json";
  const res = await fetch(path, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body), signal });
  if (!res.ok) {
    let says = res.status + " " + res.statusText;
    try { says = (await res.json()).error.message; } catch { /* no JSON: the status has to do */ }
    throw new Error(says);
  }
  return res;
}

function note(text, bad = false) {
  $("note").textContent = text;
  $("note").className = bad ? "bad" : "";
}

function size(n) {
  for (const unit of ["B", "kB", "MB"]) {
    if (n < 1000) return (unit === "B" ? n : n.toPrecision(3)) + " " + unit;
    n /= 1000;
  }
  return n.toPrecision(3) + " GB";
}

function element(tag, text, cls) {
  const e = document.createElement(tag);
  if (text) e.textContent = text;
  if (cls) e.className = cls;
  return e;
}

// refresh asks what is served.
async function refresh() {
  try {
    state.models = (await (await call("/v1/models")).json()).data;
    note("");
  } catch (err) {
    note(err.message, true);
    return;
  }
  const base = state.models[0];
  $("base").textContent = base.id;
  document.title = base.id + " · graft";
  $("system-row").hidden = !base.chat || base.task !== "generate";
  const list = state.models.slice(1).map(({ id, adapter: a }) => {
    const li = element("li");
    li.append(element("strong", id));
    const facts = [a.method, size(a.bytes), a.resident ? "in memory" : "on disk", a.pinned && "pinned", a.used > 0 && a.used + " in use", a.version && "version " + a.version.slice(0, 8)];
    li.append(element("span", facts.filter(Boolean).join(" · ")));
    return li;
  });
  $("adapters").replaceChildren(...(list.length ? list : [element("li", "No adapters are loaded.", "none")]));
  state.columns.forEach(fill);
}

// fill offers the models in a column, and keeps what was chosen.
function fill(column, i) {
  const before = column.select.value;
  column.select.replaceChildren(...state.models.map((m) => {
    const o = element("option", m.parent ? m.id : m.id + " (base)");
    o.value = m.id;
    return o;
  }));
  const ids = state.models.map((m) => m.id);
  column.select.value = ids.includes(before) ? before : ids[Math.min(i, ids.length - 1)];
}

function addColumn() {
  const root = $("column").content.cloneNode(true).firstElementChild;
  const column = { root, select: root.querySelector("select"), log: root.querySelector(".log"), turns: [] };
  root.querySelector(".choice span").textContent = "Model " + (state.columns.length + 1);
  column.log.setAttribute("aria-label", "Answers " + (state.columns.length + 1));
  state.columns.push(column);
  $("columns").append(root);
  if (state.models.length) fill(column, state.columns.length - 1);
}

function reset() {
  state.abort?.abort();
  for (const c of state.columns) {
    c.turns = [];
    c.log.replaceChildren();
  }
  $("text").focus();
}

function say(column, role, text) {
  const bubble = element("div", text, "turn " + role);
  bubble.dir = "auto";
  column.log.append(bubble);
  column.log.scrollTop = column.log.scrollHeight;
  return bubble;
}

// events reads server-sent events.
async function* events(res) {
  const reader = res.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    held += value;
    const lines = held.split("\n");
    held = lines.pop();
    for (const line of lines) {
      if (!line.startsWith("data:")) continue;
      const data = line.slice(5).trim();
      if (data === "[DONE]") return;
      yield JSON.parse(data);
    }
  }
}

// answer has a column's model answer, and shows it as it comes.
async function answer(column, text, signal) {
  say(column, "user", text);
  const bubble = say(column, "assistant", "");
  bubble.classList.add("waiting");
  const words = document.createTextNode("");
  bubble.append(words);
  const began = performance.now();
  try {
    const tell = tellers[state.models[0].task] || tellers.generate;
    const facts = await tell(column, text, signal, (more) => {
      const low = column.log.scrollHeight - column.log.scrollTop - column.log.clientHeight < 40;
      words.data += more;
      if (low) column.log.scrollTop = column.log.scrollHeight;
    });
    bubble.append(element("small", [column.select.value, facts, ((performance.now() - began) / 1000).toFixed(1) + " s"].filter(Boolean).join(" · ")));
  } catch (err) {
    if (err.name === "AbortError") bubble.append(element("small", "stopped"));
    else { bubble.classList.add("error"); words.data += (words.data ? "\n" : "") + err.message; }
  }
  bubble.classList.remove("waiting");
  column.log.scrollTop = column.log.scrollHeight;
}

// tellers say what is asked of a model, by what it is for.
const tellers = {
  async generate(column, text, signal, show) {
    const chat = state.models[0].chat;
    const body = { model: column.select.value, stream: true, stream_options: { include_usage: true }, temperature: Number($("temperature").value), max_tokens: Number($("most").value) };
    if (chat) {
      column.turns.push({ role: "user", content: text });
      body.messages = $("system").value ? [{ role: "system", content: $("system").value }, ...column.turns] : column.turns;
    } else body.prompt = text;
    let said = "", usage = "";
    try {
      for await (const e of events(await call(chat ? "/v1/chat/completions" : "/v1/completions", body, signal))) {
        if (e.error) throw new Error(e.error.message);
        if (e.usage) usage = e.usage.completion_tokens + " tokens";
        const c = e.choices[0];
        const more = c && (chat ? c.delta.content : c.text);
        if (more) { said += more; show(more); }
      }
    } finally {
      if (chat && said) column.turns.push({ role: "assistant", content: said });
      else if (chat) column.turns.pop();
    }
    return usage;
  },
  async classify(column, text, signal, show) {
    const { data: [d] } = await (await call("/classify", { model: column.select.value, input: text }, signal)).json();
    d.labels.map((l, i) => [l, d.probs[i]]).sort((a, b) => b[1] - a[1]).slice(0, 10).forEach(([l, p], i) => show((i ? "\n" : "") + (100 * p).toFixed(1) + " %  " + l));
  },
  async ner(column, text, signal, show) {
    const { data: [d] } = await (await call("/ner", { model: column.select.value, input: text }, signal)).json();
    show(d.entities.map((e) => e.text + ": " + e.type + " (" + (100 * e.probability).toFixed(0) + " %)").join("\n") || "no entities");
  },
  async embed(column, text, signal, show) {
    const { data: [d] } = await (await call("/v1/embeddings", { model: column.select.value, input: text }, signal)).json();
    show(d.embedding.length + " numbers: " + d.embedding.slice(0, 8).map((x) => x.toFixed(3)).join(", ") + " …");
  },
};

function busy(is) {
  $("send").hidden = is;
  $("stop").hidden = !is;
}

$("ask").addEventListener("submit", async (e) => {
  e.preventDefault();
  const text = $("text").value;
  if (!text.trim() || state.abort || !state.models.length) return;
  $("text").value = "";
  state.abort = new AbortController();
  busy(true);
  await Promise.all(state.columns.map((c) => answer(c, text, state.abort.signal)));
  state.abort = null;
  busy(false);
  $("text").focus();
});

// Enter sends, but not the Enter that ends a word of an input method.
$("text").addEventListener("keydown", (e) => {
  if (e.key === "Enter" && !e.shiftKey && !e.isComposing && e.keyCode !== 229) {
    e.preventDefault();
    $("ask").requestSubmit();
  }
});
document.addEventListener("keydown", (e) => { if (e.key === "Escape") state.abort?.abort(); });
$("stop").addEventListener("click", () => state.abort?.abort());
$("reset").addEventListener("click", reset);
$("refresh").addEventListener("click", refresh);
$("compare").addEventListener("click", () => {
  const two = state.columns.length < 2;
  if (two) addColumn();
  else state.columns.pop().root.remove();
  $("compare").setAttribute("aria-pressed", String(two));
});

if (matchMedia("(max-width: 760px)").matches) $("settings").open = false;
addColumn();
await refresh();
$("text").focus();
