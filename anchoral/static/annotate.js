// The annotator: draws a view of a session and sends back what the person did. All state is in Python.
const STYLE = `
.anchoral-annotate { --ink: var(--jp-ui-font-color1, #222); --faint: var(--jp-ui-font-color2, #666);
    --edge: var(--jp-border-color1, #bbb);
  --paper: var(--jp-layout-color0, #fff); color: var(--ink); background: var(--paper); border: 1px solid var(--edge);
    border-radius: 4px;
  padding: 12px 16px; max-width: 56em; font: 14px/1.45 var(--jp-ui-font-family, system-ui, sans-serif);
    outline-offset: 2px; }
.anchoral-annotate:focus-within { border-color: #0072B2; }
.anchoral-annotate .head, .anchoral-annotate .foot { display: flex; gap: 1em; flex-wrap: wrap; color: var(--faint);
    font-size: 12px; align-items: baseline; }
.anchoral-annotate .spring { flex: 1; }
.anchoral-annotate .text { font-size: 16px; white-space: pre-wrap; overflow-wrap: anywhere; min-height: 6em;
    max-height: 22em; overflow-y: auto; margin: 10px 0; padding: 10px; border: 1px solid var(--edge); border-radius: 3px; }
.anchoral-annotate .text.none { color: var(--faint); font-style: italic; }
.anchoral-annotate .keys { display: flex; gap: 8px; flex-wrap: wrap; margin: 8px 0; }
.anchoral-annotate button { font: inherit; color: var(--ink); background: var(--jp-layout-color2, #f2f2f2);
    border: 1px solid var(--edge); border-radius: 3px; padding: 5px 12px; cursor: pointer; }
.anchoral-annotate button.rare { border-left: 5px solid #D55E00; }
.anchoral-annotate button:hover { border-color: #0072B2; }
.anchoral-annotate button:focus-visible { outline: 2px solid #0072B2; outline-offset: 1px; }
.anchoral-annotate button[aria-disabled="true"] { opacity: .45; cursor: default; }
.anchoral-annotate kbd { font: 11px monospace; border: 1px solid var(--edge); border-radius: 2px; padding: 0 4px;
    margin-right: 6px; }
.anchoral-annotate .error { color: #B00020; }
.anchoral-annotate .note { color: var(--faint); font-size: 13px; margin: 6px 0; overflow-wrap: anywhere; }
.anchoral-annotate .note:empty { display: none; }
.anchoral-annotate button { max-width: 100%; overflow-wrap: anywhere; text-align: start; white-space: pre-wrap; }
.anchoral-annotate .thinks { margin: 6px 0; font-size: 13px; }
.anchoral-annotate .bar { display: inline-block; height: 9px; background: #0072B2; margin: 0 6px;
    vertical-align: baseline; }
.anchoral-annotate svg { display: block; margin-top: 8px; }
.anchoral-annotate svg text { fill: var(--faint); font-size: 10px; }
`;
const COLOURS = ["#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"];
const KINDS = {
  model: "chosen by the model",
  random: "drawn at random",
  example: "your example",
  found: "you searched for it",
  audit: "audit: never trained on",
  overlap: "another person answers it too",
};

function make(tag, cls, parent, text) {
  const node = document.createElement(tag);
  if (cls) node.className = cls;
  if (text !== undefined) node.textContent = text; // never innerHTML: a text may hold anything
  if (parent) parent.append(node);
  return node;
}

function curve(svg, view) {
  // How many texts of each rare class were found, over the answers.
  const W = 420,
    H = 90,
    left = 26,
    bottom = 14,
    n = view.labels.length;
  svg.replaceChildren();
  svg.setAttribute("viewBox", `0 0 ${W} ${H}`);
  svg.setAttribute("width", W);
  const lines = view.minority.map((c) => {
    let k = 0;
    return view.labels.map((l) => (k += l === c));
  });
  const top = Math.max(1, ...lines.map((l) => (l.length ? l[l.length - 1] : 0)));
  const x = (i) => left + ((W - left - 8) * i) / Math.max(1, n),
    y = (v) => H - bottom - ((H - bottom - 8) * v) / top;
  const add = (tag, attrs, text) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [k, v] of Object.entries(attrs)) node.setAttribute(k, v);
    if (text !== undefined) node.textContent = text;
    svg.append(node);
  };
  add("path", { d: `M${left} 4V${H - bottom}H${W - 8}`, fill: "none", stroke: "currentColor", "stroke-opacity": 0.4 });
  add("text", { x: left - 4, y: y(top) + 4, "text-anchor": "end" }, top);
  add("text", { x: left - 4, y: y(0), "text-anchor": "end" }, 0);
  add("text", { x: W - 8, y: H - 2, "text-anchor": "end" }, `${n} answers`);
  lines.forEach((l, k) => {
    add("polyline", {
      points: [`${x(0)},${y(0)}`, ...l.map((v, i) => `${x(i + 1)},${y(v)}`)].join(" "),
      fill: "none",
      stroke: COLOURS[k % 6],
      "stroke-width": 2,
      "stroke-dasharray": ["", "6 2", "2 2"][k % 3],
    });
  });
  const said = view.minority.map((c, k) => `${view.classes[c]} ${lines[k].at(-1) ?? 0}`).join(", ");
  svg.setAttribute("aria-label", `Found so far in ${n} answers: ${said}`);
}

function render({ model, el }) {
  const root = make("div", "anchoral-annotate", el);
  make("style", "", root, STYLE);
  root.tabIndex = 0;
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", "Annotator");
  const head = make("div", "head", root),
    where = make("span", "where", head);
  make("span", "spring", head);
  const progress = make("span", "count", head);
  const note = make("div", "note", root); // which class has no label yet, and how to look for it
  const text = make("div", "text", root);
  text.setAttribute("aria-live", "polite");
  const thinks = make("div", "thinks", root),
    keys = make("div", "keys", root),
    error = make("div", "error", root);
  error.setAttribute("role", "alert");
  const svg = root.appendChild(document.createElementNS("http://www.w3.org/2000/svg", "svg"));
  svg.setAttribute("role", "img");
  const foot = make("div", "foot", root),
    waited = make("span", "waited", foot),
    found = make("span", "found", foot);

  let busy = false,
    sentAt = 0,
    since = performance.now(),
    total = 0,
    alarm = 0,
    ticking = 0;
  const act = {}; // key -> what it does

  function send(message) {
    // One message at a time, stamped with the view the person saw: a fast second key cannot label a text nobody read.
    if (busy) return;
    const view = model.get("view");
    busy = true;
    sentAt = performance.now();
    if (message.do !== "peek") since = sentAt;
    error.textContent = "";
    alarm = setTimeout(() => {
      busy = false;
      error.textContent =
        "No answer from the kernel. Is it running? What you answered before is saved: open the session again to resume.";
    }, 5000);
    model.send({ ...message, id: view.id, seq: view.seq });
  }
  function button(key, name, does, cls) {
    const b = make("button", cls, keys);
    if (key) {
      make("kbd", "", b, key);
      act[key] = does;
    }
    make("bdi", "", b, name); // a name written from right to left must not drag its key along
    b.setAttribute("aria-label", name);
    if (key) b.setAttribute("aria-keyshortcuts", key);
    b.addEventListener("click", () => {
      if (b.getAttribute("aria-disabled") !== "true") does();
    });
    return b;
  }
  const first = model.get("view");
  const keyOf = (c) => (first.keys ?? [])[c] ?? `${c + 1}`; // the session says what to press
  const answers = first.classes.map((name, c) =>
    button(
      keyOf(c).length === 1 ? keyOf(c) : "",
      name,
      () => model.get("view").id !== null && send({ do: "answer", label: c }),
      first.minority.includes(c) ? "rare" : "",
    ),
  );
  const skip = button("s", "Skip", () => model.get("view").id !== null && send({ do: "answer", label: null }));
  const undo = button("u", "Undo", () => send({ do: "undo" }));
  const ask = button("m", "What the model thinks", () => model.get("view").id !== null && send({ do: "peek" }));
  const retry = button("", "Try again", () => send({ do: "retry" }));

  root.addEventListener("keydown", (event) => {
    event.stopPropagation(); // or JupyterLab would take "d d" for deleting the cell
    if (event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in act) {
      event.preventDefault();
      act[event.key]();
    }
  });

  function tick() {
    clearTimeout(ticking);
    const view = model.get("view");
    if (!root.isConnected && root.dataset.drawn) return;
    if (view.waiting) {
      waited.textContent = `waiting for the model: ${((performance.now() - since) / 1000).toFixed(1)} s`;
      ticking = setTimeout(tick, 200);
    }
  }
  let shown = null;
  function draw() {
    const view = model.get("view"),
      some = view.id !== null;
    text.textContent = some ? view.text : view.message || "The model is choosing the next batch …";
    text.classList.toggle("none", !some);
    text.scrollTop = 0;
    note.textContent = view.note ?? "";
    if (some && view.message) error.textContent = view.message; // no next batch, while texts are left of this one
    where.textContent = some
      ? `text ${view.id} · ${view.place[0]} of ${view.place[1]} · ${KINDS[view.kind] ?? view.kind}${view.kind === "model" ? `, iteration ${view.iteration}` : ""}`
      : "";
    const skipped = view.labels.filter((l) => l < 0).length;
    progress.textContent = `${view.labels.length - skipped} labelled, ${skipped} skipped${view.known ? `, ${view.known} known before` : ""}, of ${view.pool}`;
    found.textContent = view.minority
      .map((c) => `${view.classes[c]}: ${view.labels.filter((l) => l === c).length} found`)
      .join(", ");
    for (const b of [...answers, skip, ask]) b.setAttribute("aria-disabled", String(!some));
    undo.setAttribute("aria-disabled", String(!view.labels.length));
    retry.hidden = !view.message.startsWith("Choosing");
    if (shown !== `${view.id}/${view.seq}`) thinks.replaceChildren();
    if (some && shown !== null && !shown.startsWith(`${view.id}/`)) {
      const s = (performance.now() - since) / 1000;
      total += s;
      waited.textContent = `next text after ${s.toFixed(2)} s, ${total.toFixed(1)} s waited in all`;
    }
    shown = `${view.id}/${view.seq}`;
    root.dataset.seq = view.seq;
    root.dataset.id = view.id ?? "";
    root.dataset.drawn = "1";
    curve(svg, view);
    tick();
  }
  function hear(message) {
    if (message.do === "error") error.textContent = message.message;
    if (message.do === "heard") {
      busy = false;
      clearTimeout(alarm);
      root.dataset.heard = message.seq;
    }
    if (message.do === "peek" && message.id === model.get("view").id) {
      thinks.replaceChildren();
      for (const [name, p] of Object.entries(message.probs ?? {})) {
        const row = make("div", "", thinks, `${name} ${(100 * p).toFixed(0)} %`);
        make("span", "bar", row).style.width = `${Math.round(120 * p)}px`;
      }
      make("div", "", thinks, message.why ?? "");
      if (message.anchor !== undefined && message.anchor !== null)
        make(
          "div",
          "anchor",
          thinks,
          `Retrieved by anchor ${message.anchor}, similarity ${message.similarity.toFixed(2)}: “${message.anchor_text.slice(0, 160)}”`,
        );
    }
  }
  model.on("change:view", draw);
  model.on("msg:custom", hear);
  draw();
  return () => {
    clearTimeout(alarm);
    clearTimeout(ticking);
    model.off("change:view", draw);
    model.off("msg:custom", hear);
  };
}

export default { render };
