// The annotator: draws a view of a session and sends back what the person did. All state is in Python.
const STYLE = `
.anchoral-annotate { --ink: var(--jp-ui-font-color1, #222); --faint: var(--jp-ui-font-color2, #666);
    --edge: var(--jp-border-color1, #bbb);
  --paper: var(--jp-layout-color0, #fff); color: var(--ink); background: var(--paper); border: 1px solid var(--edge);
    border-radius: 4px;
  padding: 12px 16px; max-width: 56em; font: 14px/1.45 var(--jp-ui-font-family, system-ui, sans-serif);
    outline-offset: 2px; }
.anchoral-annotate:focus-within { border-color: #0072B2; }
.anchoral-annotate *, .anchoral-annotate { box-sizing: border-box; }
.anchoral-annotate .head, .anchoral-annotate .foot { display: flex; gap: 1em; color: var(--faint); font-size: 12px;
    align-items: baseline; }
.anchoral-annotate .foot { flex-wrap: wrap; }
.anchoral-annotate .head span { white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
.anchoral-annotate .head .count { margin-inline-start: auto; flex: none; }
/* What is above the buttons has a height of its own, whatever it holds: a button that moves is a wrong answer. */
.anchoral-annotate .body { display: flex; gap: 10px; height: 15em; min-height: 6em; margin: 10px 0; resize: vertical;
    overflow: hidden; }
.anchoral-annotate .text { flex: 1; font-size: 16px; white-space: pre-wrap; overflow-wrap: anywhere; height: 100%;
    overflow-y: auto; padding: 10px; border: 1px solid var(--edge); border-radius: 3px; }
.anchoral-annotate .text, .anchoral-annotate .rules { unicode-bidi: plaintext; }
.anchoral-annotate .text.none { color: var(--faint); font-style: italic; }
.anchoral-annotate .own { flex: none; width: 14em; height: 100%; margin: 0; overflow-y: auto; font-size: 13px;
    overflow-wrap: anywhere; }
.anchoral-annotate .own:empty { display: none; }
.anchoral-annotate .own dt { color: var(--faint); font-size: 12px; }
.anchoral-annotate .own dd { margin: 0 0 6px; }
.anchoral-annotate mark { background: #F0E442; color: #000; padding: 0 1px; }
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
.anchoral-annotate .remark { display: flex; gap: 8px; align-items: baseline; }
.anchoral-annotate input, .anchoral-annotate select { font: inherit; color: var(--ink); background: var(--paper);
    border: 1px solid var(--edge); border-radius: 3px; padding: 4px 8px; min-width: 0; }
.anchoral-annotate .remark input, .anchoral-annotate .search input { flex: 1; }
.anchoral-annotate .hint { min-height: 1.6em; font-size: 13px; color: var(--faint); margin: 4px 0; }
.anchoral-annotate .hint.away { color: #B35900; }
.anchoral-annotate .search { display: flex; gap: 8px; flex-wrap: wrap; align-items: baseline;
    margin: 10px 0 4px; }
.anchoral-annotate .found-texts:empty { display: none; }
.anchoral-annotate .found-texts { border: 1px solid var(--edge); border-radius: 3px; padding: 6px 10px; font-size: 13px; }
.anchoral-annotate .row { display: flex; gap: 8px; align-items: baseline; padding: 3px 0; }
.anchoral-annotate .row .words { flex: 1; min-width: 0; overflow-wrap: anywhere; max-height: 4.4em; overflow: hidden; }
.anchoral-annotate .row button { padding: 1px 8px; flex: none; }
.anchoral-annotate details { margin: 8px 0; }
.anchoral-annotate summary { cursor: pointer; }
.anchoral-annotate details[hidden] { display: none; }
.anchoral-annotate .rules { white-space: pre-wrap; overflow-wrap: anywhere; max-height: 20em; overflow-y: auto;
    border-inline-start: 3px solid var(--edge); padding-inline-start: 10px; margin-top: 4px; }
.anchoral-annotate .rows { max-height: 17em; overflow-y: auto; }
.anchoral-annotate .recent .row .words { white-space: nowrap; text-overflow: ellipsis; }
.anchoral-annotate .recent select { width: 10em; flex: none; }
.anchoral-annotate .recent input { width: 13em; flex: none; }
@media (max-width: 600px) {
  .anchoral-annotate { padding: 10px; }
  .anchoral-annotate .body { flex-direction: column; height: 21em; }
  .anchoral-annotate .text { min-height: 0; }
  .anchoral-annotate .own { width: auto; height: 6em; }
  .anchoral-annotate .head { flex-direction: column; gap: 0; }
  .anchoral-annotate .head span { min-height: 1.45em; max-width: 100%; }
  .anchoral-annotate .head .count { margin-inline-start: 0; }
  .anchoral-annotate .search input { flex-basis: 80%; }
  .anchoral-annotate .recent .row { flex-wrap: wrap; border-top: 1px solid var(--edge); }
  .anchoral-annotate .recent .row .words { flex: 1 0 100%; order: -1; }
  .anchoral-annotate .recent input { flex: 1; width: auto; }
}
.anchoral-annotate .note { color: var(--faint); font-size: 13px; margin: 6px 0; overflow-wrap: anywhere; }
.anchoral-annotate .note:empty { display: none; }
.anchoral-annotate button { max-width: 100%; overflow-wrap: anywhere; text-align: start; white-space: pre-wrap; }
.anchoral-annotate .thinks { margin: 6px 0; font-size: 13px; }
.anchoral-annotate .bar { display: inline-block; height: 9px; background: #0072B2; margin: 0 6px;
    vertical-align: baseline; }
.anchoral-annotate svg { display: block; margin-top: 8px; max-width: 100%; height: auto; }
.anchoral-annotate svg text { fill: var(--faint); font-size: 10px; }
.anchoral-annotate svg text.name { fill: var(--ink); font-size: 11px; }
`;
const COLOURS = ["#D55E00", "#0072B2", "#009E73"];
const FEW = 3; // rare classes that have a curve each; more of them share one
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

function counts(view, wanted) {
  // How many labels are `wanted`, after each answer.
  let k = 0;
  return view.labels.map((label) => (k += wanted(label)));
}

function curve(svg, view) {
  // How many rare texts were found, over the answers: a line per class where they are few, else one of all.
  const W = 460,
    H = 100,
    left = 26,
    right = 120,
    bottom = 14,
    n = view.labels.length,
    rare = new Set(view.minority);
  const lines =
    rare.size <= FEW
      ? view.minority.map((c) => ({ name: view.classes[c], at: counts(view, (label) => label === c) }))
      : [{ name: `${rare.size} rare classes`, at: counts(view, (label) => rare.has(label)) }];
  for (const line of lines) line.last = line.at.at(-1) ?? 0;
  svg.replaceChildren();
  svg.setAttribute("viewBox", `0 0 ${W} ${H}`);
  svg.setAttribute("width", W);
  const top = Math.max(1, ...lines.map((line) => line.last));
  const x = (i) => left + ((W - left - right) * i) / Math.max(1, n),
    y = (v) => H - bottom - ((H - bottom - 8) * v) / top;
  const add = (tag, attrs, text) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [k, v] of Object.entries(attrs)) node.setAttribute(k, v);
    if (text !== undefined) node.textContent = text;
    svg.append(node);
  };
  add("path", { d: `M${left} 4V${H - bottom}H${W - right}`, fill: "none", stroke: "currentColor", "stroke-opacity": 0.4 });
  add("text", { x: left - 4, y: y(top) + 4, "text-anchor": "end" }, top);
  add("text", { x: left - 4, y: y(0), "text-anchor": "end" }, 0);
  add("text", { x: W - right, y: H - 2, "text-anchor": "end" }, `${n} answers`);
  let above = Infinity; // names must not cover each other
  const byEnd = [...lines].sort((one, other) => one.last - other.last);
  for (const line of byEnd) {
    const k = lines.indexOf(line);
    const points = [`${x(0)},${y(0)}`, ...line.at.map((v, i) => `${x(i + 1)},${y(v)}`)].join(" ");
    const dashes = ["", "6 2", "2 2"][k];
    add("polyline", { points, fill: "none", stroke: COLOURS[k], "stroke-width": 2, "stroke-dasharray": dashes });
    above = Math.min(y(line.last) + 4, above - 12);
    const short = line.name.length > 16 ? `${line.name.slice(0, 15)}…` : line.name;
    add("text", { class: "name", x: W - right + 6, y: above }, `${short} ${line.last}`);
    add("circle", { cx: x(n), cy: y(line.last), r: 3, fill: COLOURS[k] });
  }
  svg.setAttribute(
    "aria-label",
    `Found so far in ${n} answers: ${lines.map((line) => `${line.name} ${line.last}`).join(", ")}`,
  );
}

const UNSPACED = /[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]/;

function pattern(words) {
  // A regular expression for any of the words, whole ones where words have spaces between them.
  const one = (word) => (UNSPACED.test(word) ? word : `(?<![\\p{L}\\p{N}])${word}(?![\\p{L}\\p{N}])`);
  const all = words.match(/[\p{L}\p{N}\p{M}]+/gu) ?? []; // letters and digits only, so nothing in them is special
  return all.length ? new RegExp(all.map(one).join("|"), "giu") : null;
}

function paint(node, text, words) {
  // The text, as text, with the words marked.
  node.replaceChildren();
  const wanted = words ? pattern(words) : null;
  let done = 0;
  for (const match of wanted ? text.matchAll(wanted) : []) {
    node.append(text.slice(done, match.index));
    make("mark", "", node, match[0]);
    done = match.index + match[0].length;
  }
  node.append(text.slice(done));
}

function field(parent, key, what) {
  // A line to type in, and the key that leads there.
  make("kbd", "", parent, key);
  const input = make("input", "", parent);
  input.dir = "auto";
  input.placeholder = what;
  input.setAttribute("aria-label", what);
  return input;
}

function render({ model, el }) {
  const root = make("div", "anchoral-annotate", el);
  make("style", "", root, STYLE);
  root.tabIndex = 0;
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", "Annotator");
  const head = make("div", "head", root),
    where = make("span", "where", head),
    progress = make("span", "count", head);
  const body = make("div", "body", root),
    text = make("div", "text", body),
    own = make("dl", "own", body);
  text.dir = "auto";
  text.setAttribute("role", "region");
  text.setAttribute("aria-label", "The text to label");
  text.setAttribute("aria-live", "polite"); // a new text is read as it comes
  text.tabIndex = 0; // a long one scrolls by the arrow keys
  own.setAttribute("aria-label", "Your own columns");
  const keys = make("div", "keys", root),
    remark = field(make("div", "remark", root), "c", "A comment on this text, kept with your answer");
  remark.addEventListener("keydown", (event) => event.key === "Enter" && root.focus());
  const hint = make("div", "hint", root),
    error = make("div", "error", root),
    note = make("div", "note", root), // which class has no label yet, and how to look for it
    thinks = make("div", "thinks", root);
  keys.setAttribute("role", "group");
  keys.setAttribute("aria-label", "Answers");
  hint.setAttribute("role", "status");
  thinks.setAttribute("role", "status");
  error.setAttribute("role", "alert");
  const guide = make("details", "guide", root);
  make("kbd", "", make("summary", "", guide, "Guidelines "), "?");
  const rules = make("div", "rules", guide);
  rules.dir = "auto";
  const search = make("form", "search", root),
    query = field(search, "/", "Find texts by their words");
  make("button", "", search, "Find").type = "submit";
  const alike = make("button", "", search, "Find more like this text");
  alike.type = "button";
  const likely = make("button", "", search, "Most likely ones"); // by the model that is delivered
  likely.type = "button";
  const results = make("div", "found-texts", root);
  results.setAttribute("role", "region");
  results.setAttribute("aria-label", "Texts that were found");
  results.setAttribute("aria-live", "polite");
  const svg = root.appendChild(document.createElementNS("http://www.w3.org/2000/svg", "svg"));
  svg.setAttribute("role", "img");
  const foot = make("div", "foot", root),
    waited = make("span", "waited", foot),
    found = make("span", "found", foot);
  const recent = make("details", "recent", root);
  make("summary", "", recent, "Your last answers");
  const rows = make("div", "rows", recent);
  recent.open = true;

  let busy = false,
    sentAt = 0,
    since = performance.now(),
    total = 0,
    alarm = 0,
    ticking = 0,
    words = "", // what was searched for last: marked in the texts
    listed = ""; // the last answers, as they were drawn
  const act = { c: () => remark.focus(), "/": () => query.focus(), "?": () => (guide.open = !guide.open) }; // by key

  function send(message) {
    // One message at a time, stamped with the view the person saw: a fast second key cannot label a text nobody read.
    if (busy) return false;
    const view = model.get("view");
    busy = true;
    sentAt = performance.now();
    if (message.do === "answer" || message.do === "undo") since = sentAt;
    error.textContent = "";
    const slow = ["find", "review"].includes(message.do), // the first search reads the whole pool
      patience = slow ? 300000 : 5000;
    alarm = setTimeout(() => {
      busy = false;
      error.textContent =
        "No answer from the kernel. Is it running? What you answered before is saved: open the session again to resume.";
    }, patience);
    model.send({ ...message, id: view.id, seq: view.seq });
    return true;
  }
  function amend(message) {
    if (!send(message)) drawRecent(model.get("view"), true); // as it is, not as the person wished
  }
  function answer(label) {
    if (model.get("view").id === null) return;
    const comment = remark.value.trim();
    send({ do: "answer", label, ...(comment ? { comment } : {}) });
  }
  function find(wanted) {
    if (busy) return;
    results.textContent = "Searching …";
    send({ do: "find", ...wanted });
  }
  function review() {
    if (busy) return;
    results.textContent = "Training …";
    send({ do: "review" });
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
      () => answer(c),
      first.minority.includes(c) ? "rare" : "",
    ),
  );
  const skip = button("s", "Skip", () => answer(null));
  const undo = button("u", "Undo", () => send({ do: "undo" }));
  const ask = button("m", "What the model thinks", () => model.get("view").id !== null && send({ do: "peek" }));
  const retry = button("", "Try again", () => send({ do: "retry" }));

  search.addEventListener("submit", (event) => {
    event.preventDefault();
    words = query.value.trim();
    results.replaceChildren();
    if (words) find({ words });
    else draw(); // without the marks
  });
  likely.addEventListener("click", review);
  alike.addEventListener("click", () => model.get("view").id !== null && find({ like: model.get("view").id }));

  const typing = (node) => node.closest("input, select, textarea") !== null;
  root.addEventListener("keydown", (event) => {
    event.stopPropagation(); // or JupyterLab would take "d d" for deleting the cell
    if (event.key === "Escape") root.focus();
    if (event.repeat || event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
    if (Object.hasOwn(act, event.key)) {
      event.preventDefault();
      act[event.key]();
    }
  });

  function say() {
    // Where the keys go: nobody should press 2 and wonder.
    const here = root.contains(document.activeElement),
      field = here && typing(document.activeElement);
    hint.classList.toggle("away", !here);
    hint.textContent = !here
      ? "Keys go elsewhere now: click here, and they answer again."
      : field
        ? "You are typing in a field. Enter or Esc, and keys answer again."
        : "";
  }
  root.addEventListener("focusin", say);
  root.addEventListener("focusout", () => setTimeout(say));
  root.addEventListener("click", (event) => {
    const byKey = event.detail === 0, // Enter on a button: whoever moves by Tab stays there
      selecting = String(document.getSelection()) !== "";
    if (!byKey && !selecting && !event.target.closest("input, select, textarea, summary")) root.focus({ preventScroll: true });
  });

  function drawOwn(values) {
    own.replaceChildren();
    for (const [name, value] of Object.entries(values)) {
      make("dt", "", own, name).dir = "auto";
      make("dd", "", own, value || "–").dir = "auto";
    }
  }
  function drawRecent(view, anew = false) {
    // The last answers, each with its class to choose again and its comment.
    const answers = view.recent ?? [],
      now = JSON.stringify(answers);
    recent.hidden = !answers.length;
    if (now === listed && !anew) return;
    listed = now;
    rows.replaceChildren();
    for (const one of answers) {
      const row = make("div", "row", rows),
        choice = make("select", "", row),
        remarked = make("input", "", row);
      view.classes.forEach((name, c) => (make("option", "", choice, name).value = c));
      make("option", "", choice, "skipped").value = "";
      choice.value = one.label ?? "";
      choice.setAttribute("aria-label", `Answer to text ${one.id}`);
      choice.addEventListener("change", () => {
        amend({ do: "change", of: one.id, label: choice.value === "" ? null : Number(choice.value) });
        root.focus({ preventScroll: true });
      });
      remarked.dir = "auto";
      remarked.value = one.comment;
      remarked.placeholder = "comment";
      remarked.setAttribute("aria-label", `Comment on text ${one.id}`);
      remarked.addEventListener("change", () => amend({ do: "comment", of: one.id, comment: remarked.value }));
      remarked.addEventListener("keydown", (event) => event.key === "Enter" && remarked.blur());
      const words = make("span", "words", row, one.text);
      words.dir = "auto";
      words.title = one.text;
      row.prepend(choice, words);
    }
  }
  function drawFound(message) {
    results.replaceChildren();
    if (!message.rows.length) {
      results.textContent = "No text without an answer matches.";
      return;
    }
    const look = (ids) => {
      send({ do: "look", ids });
      results.replaceChildren();
      root.focus();
    };
    const all = make("div", "row", results);
    make("span", "words", all, `${message.rows.length} texts without an answer, the best match first`);
    make("button", "", all, "Label all of them next").addEventListener("click", () =>
      look(message.rows.map((one) => one.id)),
    );
    for (const one of message.rows) {
      const row = make("div", "row", results),
        words = make("span", "words", row);
      words.dir = "auto";
      paint(words, one.text, message.words);
      const next = make("button", "", row, "Label it next");
      next.setAttribute("aria-label", `Label it next: text ${one.id}`);
      next.addEventListener("click", () => look([one.id]));
    }
  }

  function tick() {
    clearTimeout(ticking);
    const view = model.get("view");
    if (!root.isConnected && root.dataset.drawn) return;
    if (view.waiting) {
      waited.textContent = `waiting for the model: ${((performance.now() - since) / 1000).toFixed(1)} s`;
      ticking = setTimeout(tick, 200);
    }
  }
  let shown = null,
    last = null; // the newest answer when this text was shown: an undo brings its comment back
  function draw() {
    const view = model.get("view"),
      some = view.id !== null;
    paint(text, some ? view.text : view.message || "The model is choosing the next batch …", some ? words : "");
    text.classList.toggle("none", !some);
    if (shown === null || !shown.startsWith(`${view.id}/`)) {
      text.scrollTop = 0;
      remark.value = last?.id === view.id ? last.comment : "";
    }
    last = view.recent?.[0] ?? null;
    if (some || !own.childElementCount) drawOwn(view.beside ?? {});
    guide.hidden = !view.guidelines;
    rules.textContent = view.guidelines ?? "";
    drawRecent(view);
    note.textContent = (view.note ?? "").replace(/To look for one: session.*$/, "To look for one: Find, below.");
    if (some && view.message) error.textContent = view.message; // no next batch, while texts are left of this one
    where.textContent = some
      ? `text ${view.id} · ${view.place[0]} of ${view.place[1]} · ${KINDS[view.kind] ?? view.kind}${view.kind === "model" ? `, iteration ${view.iteration}` : ""}`
      : "";
    const skipped = view.labels.filter((l) => l < 0).length;
    progress.textContent = `${view.labels.length - skipped} labelled, ${skipped} skipped${view.known ? `, ${view.known} known before` : ""}, of ${view.pool}`;
    found.textContent = view.minority
      .map((c) => `${view.classes[c]}: ${view.labels.filter((l) => l === c).length} found`)
      .join(", ");
    for (const b of [...answers, skip, ask, alike]) b.setAttribute("aria-disabled", String(!some));
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
    if (message.do === "error") {
      error.textContent = message.message;
      drawRecent(model.get("view"), true);
    }
    if (message.do === "error" && !results.childElementCount) results.replaceChildren();
    if (message.do === "found") {
      drawFound(message);
      draw();
    }
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
  const opened = requestAnimationFrame(() => {
    const focus = document.activeElement;
    const used = focus !== null && (typing(focus) || focus.isContentEditable);
    if (!used) root.focus({ preventScroll: true });
    say();
  });
  return () => {
    cancelAnimationFrame(opened);
    clearTimeout(alarm);
    clearTimeout(ticking);
    model.off("change:view", draw);
    model.off("msg:custom", hear);
  };
}

export default { render };
