// Sentences: the tokens read above, those written below, all weights in a table.

const KINDS = {
  between: { label: "written → read", rows: "written", columns: "read" },
  encoder: { label: "read → read", rows: "read, looking", columns: "read" },
  decoder: { label: "written → written", rows: "to write", columns: "written before" },
};
const MEAN = -1;

const place = (name) => element("div", { className: name });
const heads = place("heads");
const panes = place("panes");
const matrix = place("matrix");
const summary = element("p", { className: "summary", role: "status" });
const state = { sentence: 0, kind: undefined, layer: 0, head: MEAN, side: "row", index: 0 };
let hovered = null;
let tokens = { row: [], column: [] };
let cells = [];
const unpackedLayers = new Map();

function layers(kind) {
  const { layers: own } = data.sentences[state.sentence];
  return (kind === "encoder" ? data.source.layers : own).filter((x) => x.kind === kind);
}

/** Returns what the rows and the columns of a kind stand for. */
function axes() {
  const { source } = data;
  const target = data.sentences[state.sentence];
  return {
    between: { rows: target.pieces, columns: source.pieces },
    encoder: { rows: source.pieces, columns: source.pieces },
    decoder: { rows: target.pieces, columns: target.inputs },
  }[state.kind];
}

function directions() {
  const { source } = data;
  const target = data.sentences[state.sentence];
  return {
    row: (state.kind === "encoder" ? source : target).direction,
    column: (state.kind === "decoder" ? target : source).direction,
  };
}

/** Returns the weight function (row, column) of a head, or of the mean of all. */
function weightsOf(layer, head) {
  if (!unpackedLayers.has(layer)) unpackedLayers.set(layer, unpacked(layer.weights));
  const all = unpackedLayers.get(layer);
  const { rows, columns } = axes();
  const size = rows.length * columns.length;
  const used = head === MEAN ? [...Array(layer.heads).keys()] : [head];
  return (row, column) =>
    used.reduce((sum, n) => sum + all[n * size + row * columns.length + column], 0) /
    used.length;
}

function current() {
  return weightsOf(layers(state.kind)[state.layer], state.head);
}

function headName(layer, head) {
  if (layer.heads === 1) return `layer ${layer.layer}`;
  const which = head === MEAN ? `mean of ${layer.heads} heads` : `head ${head + 1}`;
  return `layer ${layer.layer}, ${which}`;
}

/** Draws a map in little, each weight a square. */
function thumbnail(layer, head) {
  const { rows, columns } = axes();
  const weight = weightsOf(layer, head);
  const canvas = element("canvas", { width: columns.length, height: rows.length });
  const longest = Math.max(rows.length, columns.length);
  canvas.style.width = `${(3 * columns.length) / longest}rem`;
  canvas.style.height = `${(3 * rows.length) / longest}rem`;
  const pen = canvas.getContext("2d");
  pen.fillStyle = getComputedStyle(document.body).getPropertyValue("--much");
  for (let row = 0; row < rows.length; row++)
    for (let column = 0; column < columns.length; column++) {
      pen.globalAlpha = Math.sqrt(Math.min(1, weight(row, column)));
      pen.fillRect(column, row, 1, 1);
    }
  return canvas;
}

function drawHeads() {
  const options = [];
  const lines = layers(state.kind).map((layer, number) => {
    const all = [...Array(layer.heads).keys()];
    const line = layer.heads === 1 ? [0] : [MEAN, ...all];
    return line.map((head) => options.push({ number, head, layer }) - 1);
  });
  const contents = options.map(({ layer, head }) => {
    const short = head === MEAN ? "mean" : `${head + 1}`;
    const name = element("span", { className: "unseen", textContent: headName(layer, head) });
    const caption = element("span", { textContent: short });
    caption.setAttribute("aria-hidden", "true");
    return element("span", { className: "thumbnail" }, name, thumbnail(layer, head), caption);
  });
  const chosen = options.findIndex((x) => x.number === state.layer && x.head === state.head);
  const group = choices("Layer and head", "head", contents, chosen, (n) => {
    state.layer = options[n].number;
    state.head = options[n].head;
    update();
  });
  const labels = [...group.querySelectorAll("label")];
  lines.forEach((line, number) => {
    const caption = element("span", { textContent: `layer ${number + 1}` });
    caption.setAttribute("aria-hidden", "true");
    group.append(element("div", { className: "layer" }, caption, ...line.map((n) => labels[n])));
  });
  heads.replaceChildren(...(options.length > 1 ? [group] : []));
}

function select(side, index) {
  Object.assign(state, { side, index });
  hovered = null;
  update();
}

function hover(choice) {
  hovered = choice;
  update();
}

function pane(side, title, words) {
  const leftward = directions()[side] === "rtl";
  const list = element("div", { role: "listbox", dir: leftward ? "rtl" : "ltr" });
  list.setAttribute("aria-label", title);
  list.setAttribute("aria-orientation", "horizontal");
  tokens[side] = words.map((word, index) => {
    const label = element("bdi", { textContent: word });
    const item = element("div", { role: "option", className: "token" }, label, element("span", {}));
    item.addEventListener("focus", () => select(side, index));
    item.addEventListener("click", () => select(side, index));
    item.addEventListener("mouseenter", () => hover({ side, index }));
    return item;
  });
  const first = state.side === side ? Math.min(state.index, words.length - 1) : 0;
  roving(tokens[side], first, (key, at) => along(key, at, words.length, leftward));
  list.addEventListener("keydown", (event) => {
    const other = { ArrowUp: "column", ArrowDown: "row" }[event.key];
    if (!other || other === side || modified(event)) return;
    event.preventDefault();
    tokens[other].find((item) => item.tabIndex === 0)?.focus();
  });
  list.addEventListener("mouseleave", () => hover(null));
  list.append(...tokens[side]);
  return element("section", {}, element("h3", { textContent: title }), list);
}

function drawPanes() {
  const { rows, columns } = axes();
  panes.replaceChildren(
    pane("column", KINDS[state.kind].columns, columns),
    pane("row", KINDS[state.kind].rows, rows),
  );
}

function drawTable() {
  const { rows, columns } = axes();
  const header = (word, scope) =>
    element("th", { scope }, element("bdi", { textContent: word }));
  const top = element("tr", {}, element("td"), ...columns.map((x) => header(x, "col")));
  cells = rows.map(() => columns.map(() => element("td")));
  const lines = rows.map((x, row) => element("tr", {}, header(x, "row"), ...cells[row]));
  const table = element(
    "table",
    { dir: directions().column },
    element("caption", { textContent: "All weights, in percent" }),
    element("thead", {}, top),
    element("tbody", {}, ...lines),
  );
  const at = (event) => {
    const cell = event.target.closest("td, th");
    const row = cell?.closest("tbody tr");
    if (row) return { side: "row", index: row.sectionRowIndex };
    return cell?.cellIndex ? { side: "column", index: cell.cellIndex - 1 } : null;
  };
  table.addEventListener("mouseover", (event) => hover(at(event)));
  table.addEventListener("mouseleave", () => hover(null));
  table.addEventListener("click", (event) => {
    const choice = at(event);
    if (choice) select(choice.side, choice.index);
  });
  matrix.replaceChildren(element("div", { className: "scroll", tabIndex: 0 }, table), ramp());
}

/** Says in a sentence what is looked at most; screen readers hear it. */
function summarise(choice, weights) {
  const { rows, columns } = axes();
  const own = choice.side === "row" ? rows : columns;
  const others = choice.side === "row" ? columns : rows;
  const layer = layers(state.kind)[state.layer];
  const verb = choice.side === "row" ? "looks most at" : "is looked at most by";
  const most = [...weights.keys()].sort((a, b) => weights[b] - weights[a]).slice(0, 4);
  const parts = most.flatMap((n, count) => [
    count ? ", “" : "“",
    element("bdi", { textContent: others[n] }),
    `” ${percent(weights[n])}`,
  ]);
  summary.replaceChildren(
    "“",
    element("bdi", { className: "chosen", textContent: own[choice.index] }),
    `” (${choice.index + 1} of ${own.length}) ${verb} `,
    ...parts,
    ` (${headName(layer, state.head)}).`,
  );
}

/** Shows the weights of the chosen token, and those of all in the table. */
function update() {
  const { rows, columns } = axes();
  const weight = current();
  const limits = { row: rows.length, column: columns.length };
  state.index = Math.min(state.index, limits[state.side] - 1);
  const choice = hovered ?? state;
  const other = choice.side === "row" ? "column" : "row";
  const weights = Float64Array.from({ length: limits[other] }, (_, n) =>
    choice.side === "row" ? weight(choice.index, n) : weight(n, choice.index),
  );
  for (const side of ["row", "column"])
    tokens[side].forEach((token, index) => {
      const chosen = side === choice.side && index === choice.index;
      const value = side === other ? weights[index] : 0;
      token.setAttribute("aria-selected", String(side === state.side && index === state.index));
      token.classList.toggle("chosen", chosen);
      shade(token, value);
      token.lastChild.textContent = value >= 0.0005 ? percent(value) : "";
    });
  cells.forEach((line, row) =>
    line.forEach((cell, column) => {
      const value = weight(row, column);
      shade(cell, value);
      cell.textContent = value >= 0.005 ? Math.round(100 * value) : "";
      cell.classList.toggle("in-row", choice.side === "row" && row === choice.index);
      cell.classList.toggle("in-column", choice.side === "column" && column === choice.index);
    }),
  );
  summarise(choice, weights);
}

function redraw() {
  const found = layers(state.kind);
  state.layer = Math.min(state.layer, found.length - 1);
  const { heads: count } = found[state.layer];
  state.head = count === 1 ? 0 : Math.min(state.head, count - 1);
  hovered = null;
  drawHeads();
  drawPanes();
  drawTable();
  update();
}

function written() {
  const contents = data.sentences.map(({ text, score, direction }) =>
    element(
      "span",
      {},
      element("bdi", { textContent: text, dir: direction }),
      score === null ? "" : element("small", { textContent: ` ${score.toFixed(3)}` }),
    ),
  );
  return choices("Written, and score", "sentence", contents, 0, (n) => {
    state.sentence = n;
    redraw();
  });
}

/** Returns a slider over the steps of the search, with what was alive at each. */
function beam() {
  const list = element("ol", { className: "beam" });
  const label = element("output");
  const slider = element("input", { type: "range", min: 1, max: data.steps.length, value: 1 });
  slider.setAttribute("aria-label", "step of the search");
  const draw = () => {
    const { texts, log_probs, began } = data.steps[slider.value - 1];
    label.textContent = `after step ${slider.value} of ${data.steps.length}`;
    list.replaceChildren(
      ...texts.map((text, n) => {
        const words = element(began[n] ? "strong" : "span", { dir: "auto", textContent: text });
        const number = element("small", { textContent: ` ${log_probs[n].toFixed(2)}` });
        return element("li", {}, words, number);
      }),
    );
  };
  slider.addEventListener("input", draw);
  draw();
  return element(
    "section",
    {},
    element("h2", { textContent: "How the search went" }),
    element("p", {
      textContent:
        "The hypotheses that went on, with the log-probability of each in nats; " +
        "in bold, how the best sentence began.",
    }),
    element("div", { className: "slider" }, slider, label),
    list,
  );
}

function start() {
  const kinds = Object.keys(KINDS).filter((kind) => layers(kind).length);
  const parts = data.sentences.length > 1 ? [written()] : [];
  const search = data.steps.length ? [beam()] : [];
  if (!kinds.length) return;
  [state.kind] = kinds;
  state.layer = layers(state.kind).length - 1;
  if (kinds.length > 1) {
    const labels = kinds.map((kind) => element("span", { textContent: KINDS[kind].label }));
    parts.push(
      choices("Who looks at whom", "kind", labels, 0, (n) => {
        state.kind = kinds[n];
        redraw();
      }),
    );
  }
  const hint = element("p", {
    className: "hint",
    textContent:
      "Point at a token, tap it or move with the arrow keys: the other line shows where " +
      "it looks, or who looks at it.",
  });
  redraw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawHeads);
  show(...parts, heads, hint, panes, summary, matrix, ...search);
}

start();
