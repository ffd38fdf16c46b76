// Figure 1 with a slider: pool, subpool, anchors, labelled and boundary, iteration by iteration, two filters side by
// side.
// `draw(element, data)` is all of it; a widget and a static page both call it. `data` is what anchoral.teach.figure1.play
// gives.
const STYLE = `
.anchoral-figure1 { --ink: var(--jp-ui-font-color1, var(--md-default-fg-color, #222)); color: var(--ink);
    font: 13px/1.4 var(--jp-ui-font-family, system-ui, sans-serif); max-width: 62em; }
.anchoral-figure1 .panels { display: flex; flex-wrap: wrap; gap: 12px; }
.anchoral-figure1 .panel { flex: 1 1 300px; min-width: 260px; margin: 0; }
.anchoral-figure1 svg.plane { width: 100%; background: #fff; border: 1px solid #bbb; border-radius: 3px; }
.anchoral-figure1 .controls { display: flex; gap: 10px; align-items: center; margin: 8px 0; }
.anchoral-figure1 .controls input { flex: 1; }
.anchoral-figure1 button, .anchoral-figure1 select { font: inherit; color: inherit; background: transparent;
    border: 1px solid #999; border-radius: 3px; padding: 3px 10px; }
.anchoral-figure1 .says { min-height: 3em; }
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

export function draw(el, data) {
  const root = make("div", "anchoral-figure1", el);
  make("style", "", root, STYLE);
  const last = Math.max(...Object.values(data.runs).map((r) => r.frames.length)) - 1;
  const controls = make("div", "controls", root),
    play = make("button", "play", controls, "Play");
  const slider = make("input", "iteration", controls);
  Object.assign(slider, { type: "range", min: 0, max: last, value: 0, step: 1 });
  slider.setAttribute("aria-label", "Iteration");
  const where = make("output", "", controls);
  const panels = make("div", "panels", root),
    names = Object.keys(data.runs);
  const views = [data.first ?? names[0], data.second ?? names[names.length - 1]].map((name, k) => {
    const box = make("figure", "panel", panels),
      choose = make("select", "filter", box);
    choose.setAttribute("aria-label", k ? "Filter on the right" : "Filter on the left");
    for (const n of names) Object.assign(make("option", "", choose, data.runs[n].label), { value: n });
    choose.value = name;
    const show = plane(box, data),
      says = make("figcaption", "says", box);
    choose.addEventListener("change", update);
    return () => {
      says.textContent = show(choose.value, Math.min(+slider.value, data.runs[choose.value].frames.length - 1));
    };
  });
  function update() {
    where.textContent = `iteration ${slider.value} of ${last}`;
    views.forEach((v) => v());
  }
  let timer = 0;
  play.addEventListener("click", () => {
    clearInterval(timer);
    if (play.textContent === "Stop") {
      play.textContent = "Play";
      return;
    }
    if (+slider.value === last) slider.value = 0;
    update();
    play.textContent = "Stop";
    timer = setInterval(() => {
      slider.value = +slider.value + 1;
      update();
      if (+slider.value === last) {
        clearInterval(timer);
        play.textContent = "Play";
      }
    }, 900);
  });
  slider.addEventListener("input", update);
  root.addEventListener("keydown", (event) => event.stopPropagation());
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
