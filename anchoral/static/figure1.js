// Figure 1 with a slider: pool, subpool, anchors, labelled and boundary, iteration by iteration, two filters side by
// side.
// `draw(element, data)` is all of it; a widget and a static page both call it. `data` is what anchoral.teach.figure1.play
// gives. Where it holds a question, the reader answers first and sees the figure after.
const STYLE = `
.anchoral-figure1 { --ink: var(--jp-ui-font-color1, var(--md-default-fg-color, #222)); color: var(--ink);
    font: 13px/1.4 var(--jp-ui-font-family, system-ui, sans-serif); max-width: 62em; }
.anchoral-figure1 .panels { display: flex; flex-wrap: wrap; gap: 12px; }
.anchoral-figure1 .panel { flex: 1 1 300px; min-width: 260px; margin: 0; }
.anchoral-figure1 svg.plane { width: 100%; background: #fff; border: 1px solid #bbb; border-radius: 3px; }
.anchoral-figure1 .controls { display: flex; gap: 10px; align-items: center; margin: 8px 0; }
.anchoral-figure1 .controls input { flex: 1; }
.anchoral-figure1 button, .anchoral-figure1 select { font: inherit; color: inherit; background: transparent;
    border: 1px solid #767676; border-radius: 3px; padding: 3px 10px; }
.anchoral-figure1 option { color: #222; background: #fff; }
.anchoral-figure1 :focus-visible { outline: 2px solid #0072B2; outline-offset: 2px; }
.anchoral-figure1 .says { min-height: 3em; margin: 4px 0 0; font-size: 13px; font-style: normal; max-width: none; text-align: left; }
.anchoral-figure1 fieldset { border: 1px solid #767676; border-radius: 3px; margin: 0 0 8px; padding: 6px 12px 10px; }
.anchoral-figure1 legend { font-weight: bold; padding: 0; float: left; margin: 4px 0 6px; max-width: 46em; }
.anchoral-figure1 fieldset label { display: block; padding: 2px 0; clear: both; }
.anchoral-figure1 .worlds { max-width: 480px; display: block; }
.anchoral-figure1 .bars, .anchoral-figure1 .worlds { width: 100%; background: #fff; border: 1px solid #bbb; border-radius: 3px; margin-top: 6px; }
.anchoral-figure1 .verdict { margin: 4px 0 8px; }
.anchoral-figure1 .key { display: flex; flex-wrap: wrap; gap: 4px 16px; margin-top: 6px; }
.anchoral-figure1 .key svg { vertical-align: -3px; margin-right: 4px; background: #fff; }
`;
const NS = "http://www.w3.org/2000/svg";
const POOL = { 0: "#cfcfcf", 1: "#8f8f8f" },
  SUBPOOL = "#56B4E9",
  ASKED = "#E69F00",
  ANCHOR = "#D55E00",
  INK = "#333333";

function make(tag, cls, parent, text) {
  const node = document.createElement(tag);
  if (cls) node.className = cls;
  if (text !== undefined) node.textContent = text;
  if (parent) parent.append(node);
  return node;
}
function svg(tag, attrs, parent) {
  const node = document.createElementNS(NS, tag);
  for (const [k, v] of Object.entries(attrs)) node.setAttribute(k, v);
  if (parent) parent.append(node);
  return node;
}
const cross = (x, y, r) => `M${x - r} ${y - r}L${x + r} ${y + r}M${x - r} ${y + r}L${x + r} ${y - r}`;

function plane(box, data) {
  // A panel: every point once, and layers that are drawn anew for each frame.
  const [x0, x1, y0, y1] = data.box,
    W = 400,
    H = (W * (y1 - y0)) / (x1 - x0);
  const x = (v) => (W * (v - x0)) / (x1 - x0),
    y = (v) => (H * (y1 - v)) / (y1 - y0);
  const root = svg("svg", { viewBox: `0 0 ${W} ${H.toFixed(1)}`, class: "plane", role: "img" }, box);
  const at = data.points.map(([a, b]) => [x(a), y(b)]);
  const pool = svg("g", {}, root);
  const dots = at.map(([a, b], i) =>
    svg("circle", { cx: a.toFixed(1), cy: b.toFixed(1), r: data.truth[i] ? 2 : 1.3, fill: POOL[data.truth[i]] }, pool),
  );
  const layer = svg("g", {}, root);
  const path = (line, attrs) =>
    svg(
      "path",
      {
        d: line.map(([a, b], i) => `${i ? "L" : "M"}${x(a).toFixed(1)} ${y(b).toFixed(1)}`).join(""),
        fill: "none",
        ...attrs,
      },
      layer,
    );
  return (method, t) => {
    const run = data.runs[method],
      frame = run.frames[t],
      labelled = run.frames.slice(0, t + 1).flatMap((f) => f.told),
      known = new Set(labelled),
      asked = new Set(frame.query);
    const inside = frame.subpool === null ? null : new Set(frame.subpool);
    dots.forEach((d, i) => {
      const colour = known.has(i)
        ? "none"
        : asked.has(i)
          ? ASKED
          : inside && inside.has(i)
            ? SUBPOOL
            : POOL[data.truth[i]];
      d.setAttribute("fill", colour);
      d.setAttribute("r", asked.has(i) || (inside && inside.has(i)) ? 3 : data.truth[i] ? 2 : 1.3);
    });
    layer.replaceChildren();
    for (const i of labelled) {
      const [a, b] = at[i];
      if (data.truth[i]) svg("circle", { cx: a, cy: b, r: 3.4, fill: "none", stroke: INK, "stroke-width": 1.3 }, layer);
      else svg("path", { d: cross(a, b, 2.8), stroke: INK, "stroke-width": 1 }, layer);
    }
    for (const i of frame.anchors)
      svg("circle", { cx: at[i][0], cy: at[i][1], r: 6.5, fill: "none", stroke: ANCHOR, "stroke-width": 1.8 }, layer);
    if (t) for (const line of run.frames[0].lines) path(line, { stroke: "#888", "stroke-dasharray": "4 3" });
    for (const line of frame.lines) path(line, { stroke: run.colour, "stroke-width": 2 });
    const rare = labelled.filter((i) => data.truth[i]).length;
    const said =
      `${run.label}, iteration ${t}: ${labelled.length} labelled, ${rare} of them of the minority; ${frame.found} of ${data.clusters} clusters known. ` +
      (frame.query.length
        ? `Asks about ${frame.query.length} of ${inside ? inside.size : data.points.length - labelled.length} it may choose from${frame.anchors.length ? `, near ${frame.anchors.length} anchors` : ""}.`
        : "Asks no more.") +
      (frame.lines.length ? "" : " No boundary in sight: the model calls everything one class.");
    root.setAttribute("aria-label", said);
    return said;
  };
}

function write(parent, x, y, text, attrs = {}) {
  const node = svg("text", { x, y, "font-size": 12, fill: INK, ...attrs }, parent);
  node.textContent = text;
}
const nearest = (values, t) => values[Math.min(t, values.length - 1)];

function bars(box, about) {
  // One number per iteration, the present one dark.
  const W = 400,
    H = 76,
    root = svg("svg", { viewBox: `0 0 ${W} ${H}`, class: "bars", role: "img" }, box);
  return (run, t) => {
    root.replaceChildren();
    write(root, 6, 14, about.label);
    const wide = (W - 12) / run.values.length;
    run.values.forEach((v, k) => {
      const high = (38 * v) / about.most,
        place = { x: 6 + k * wide, y: 72 - high, width: wide - 4, height: high + 1 };
      svg("rect", { ...place, fill: k === t ? run.colour : "#c8c8c8" }, root);
      if (k === t) write(root, 6 + k * wide, 68 - high, about.percent ? `${Math.round(100 * v)} %` : v);
    });
    root.setAttribute("aria-label", `${about.label}, by iteration: ${run.values.join(", ")}`);
  };
}

function worlds(box, data) {
  // How many clusters each run knows, in one square for each drawing of the world.
  const names = Object.keys(data.worlds),
    shades = ["#ffffff", "#d0e4f2", "#6fb1dc", "#0072B2"],
    left = 118,
    side = (400 - left - 4) / data.worlds[names[0]].length,
    high = 24 + names.length * (side + 8),
    root = svg("svg", { viewBox: `0 0 400 ${high.toFixed(1)}`, class: "worlds", role: "img" }, box),
    says = make("p", "says", box);
  return (t) => {
    root.replaceChildren();
    write(root, 6, 14, "clusters known, one square for each drawing");
    const all = names.map((name, row) => {
      const y = 22 + row * (side + 8),
        known = data.worlds[name].map((found) => nearest(found, t));
      write(root, 6, y + side - 3, data.runs[name].label, { "font-size": 10.5 });
      known.forEach((n, k) => {
        const at = { x: left + k * side, y, width: side - 2, height: side - 2 };
        svg("rect", { ...at, fill: shades[n], stroke: "#777", "stroke-width": 0.6 }, root);
        const middle = { "font-size": 9, "text-anchor": "middle", fill: n > 2 ? "#fff" : INK };
        write(root, left + (k + 0.5) * side - 1, y + side / 2 + 2, n, middle);
      });
      return `${known.filter((n) => n === data.clusters).length} with ${data.runs[name].label}`;
    });
    says.textContent = `Of ${data.worlds[names[0]].length} drawings of the world, all ${data.clusters} clusters are known at iteration ${t} in: ${all.join("; ")}.`;
    root.setAttribute("aria-label", says.textContent);
  };
}

let asked = 0;
function ask(root, question, then) {
  // A prediction first: nothing is drawn before an answer is chosen.
  const set = make("fieldset", "ask", root),
    group = `anchoral-figure1-${++asked}-${Math.round(1e9 * Math.random())}`;
  make("legend", "", set, question.ask);
  const choices = question.choices.map((text) => {
    const label = make("label", "", set),
      choice = make("input", "", label);
    Object.assign(choice, { type: "radio", name: group });
    label.append(` ${text}`);
    choice.addEventListener("change", () => (show.disabled = false));
    return choice;
  });
  const show = make("button", "show", set, "Show what happens");
  Object.assign(show, { type: "button", disabled: true });
  const verdict = make("p", "verdict", root);
  verdict.setAttribute("role", "status");
  show.addEventListener("click", () => {
    const chosen = choices.findIndex((c) => c.checked),
      right = question.right === chosen;
    choices.forEach((c) => (c.disabled = true));
    show.remove();
    verdict.textContent = `${right ? "Yes." : `You said: ${question.choices[chosen]}. It is: ${question.choices[question.right]}.`} ${question.because}`;
    then();
  });
}

export function draw(el, data) {
  const root = make("div", "anchoral-figure1", el);
  make("style", "", root, STYLE);
  root.addEventListener("keydown", (event) => event.stopPropagation());
  let stop = () => {};
  if (!data.question) return figure(root, data);
  ask(root, data.question, () => {
    stop = figure(root, data);
    root.querySelector("input.iteration").focus();
  });
  return () => stop();
}

function figure(root, data) {
  const last = Math.max(...Object.values(data.runs).map((r) => r.frames.length)) - 1;
  const controls = make("div", "controls", root),
    still = matchMedia("(prefers-reduced-motion: reduce)").matches,
    idle = still ? "Next" : "Play",
    play = make("button", "play", controls, idle);
  play.type = "button";
  const slider = make("input", "iteration", controls);
  Object.assign(slider, { type: "range", min: 0, max: last, value: 0, step: 1 });
  slider.setAttribute("aria-label", "Iteration");
  const where = make("span", "where", controls);
  where.setAttribute("aria-hidden", "true"); // the slider itself says it
  const panels = make("div", "panels", root),
    names = Object.keys(data.runs);
  const views = [data.first ?? names[0], data.second ?? names[names.length - 1]].map((name, k) => {
    const box = make("figure", "panel", panels),
      choose = make("select", "filter", box);
    choose.setAttribute("aria-label", `${data.what ?? "Filter"} on the ${k ? "right" : "left"}`);
    for (const n of names) Object.assign(make("option", "", choose, data.runs[n].label), { value: n });
    choose.value = name;
    const show = plane(box, data),
      count = data.bars && bars(box, data.bars),
      says = make("figcaption", "says", box);
    says.setAttribute("aria-live", "polite");
    choose.addEventListener("change", update);
    return () => {
      const t = Math.min(+slider.value, data.runs[choose.value].frames.length - 1);
      says.textContent = show(choose.value, t);
      if (count) count(data.runs[choose.value], t);
    };
  });
  const every = data.worlds && worlds(make("div", "drawings", root), data);
  function update() {
    where.textContent = `iteration ${slider.value} of ${last}`;
    slider.setAttribute("aria-valuetext", where.textContent);
    views.forEach((v) => v());
    if (every) every(+slider.value);
  }
  // while it plays, nothing is read aloud; the last frame is
  const aloud = (how) => root.querySelectorAll("figcaption").forEach((s) => s.setAttribute("aria-live", how));
  let timer = 0;
  play.addEventListener("click", () => {
    clearInterval(timer);
    if (still) {
      // who asked for less motion steps through the frames
      slider.value = +slider.value === last ? 0 : +slider.value + 1;
      update();
      return;
    }
    if (play.textContent === "Stop") {
      play.textContent = "Play";
      aloud("polite");
      return;
    }
    if (+slider.value === last) slider.value = 0;
    update();
    play.textContent = "Stop";
    aloud("off");
    timer = setInterval(() => {
      slider.value = +slider.value + 1;
      if (+slider.value === last) aloud("polite");
      update();
      if (+slider.value === last) {
        clearInterval(timer);
        play.textContent = "Play";
      }
    }, 900);
  });
  slider.addEventListener("input", update);
  const key = make("div", "key", root);
  const entry = (name, tag, attrs) => {
    const item = make("span", "", key),
      icon = svg("svg", { width: 16, height: 16 }, item);
    svg(tag, attrs, icon);
    item.append(name);
  };
  const dot = (r, fill) => ({ cx: 8, cy: 8, r, fill }),
    ring = (r, stroke) => ({ cx: 8, cy: 8, r, fill: "none", stroke, "stroke-width": 1.6 });
  entry("unlabelled majority", "circle", dot(2, POOL[0]));
  entry("unlabelled minority", "circle", dot(2.5, POOL[1]));
  entry("subpool", "circle", dot(3.5, SUBPOOL));
  entry("asked now", "circle", dot(3.5, ASKED));
  entry("labelled majority", "path", { d: cross(8, 8, 3.5), stroke: INK });
  entry("labelled minority", "circle", ring(3.5, INK));
  entry("anchor", "circle", ring(6, ANCHOR));
  entry("boundary, dashed: the first", "path", { d: "M1 8H15", stroke: INK, "stroke-width": 2 });
  update();
  return () => clearInterval(timer);
}

function render({ model, el }) {
  return draw(el, model.get("data"));
}

export default { render };
