// Pictures: the cells of a picture below, who looks at them above.

const question = element("h2");
const answers = element("p", { className: "answers" });
const looks = element("div");
const words = element("div");
const original = element("img", { className: "original", alt: "" });
const frame = element("div", { className: "frame" });
const summary = element("p", { className: "summary", role: "status" });
// `word` is the last word that was chosen: its cells stay while a cell is chosen.
const state = { question: 0, look: 0, kind: "word", index: 0, word: 0 };
let hovered = null;
let tokens = [];
let cells = [];
const unpackedLooks = new Map();

function current() {
  const asked = data.questions[state.question];
  const look = asked.looks[state.look];
  if (!unpackedLooks.has(look)) unpackedLooks.set(look, unpacked(look.weights));
  const [rows, columns] = asked.grid;
  const all = unpackedLooks.get(look);
  return { look, rows, columns, at: (word, cell) => all[word * rows * columns + cell] };
}

function cellName(cell, columns) {
  return `row ${Math.floor(cell / columns) + 1}, column ${(cell % columns) + 1}`;
}

function select(kind, index) {
  Object.assign(state, { kind, index });
  if (kind === "word") state.word = index;
  hovered = null;
  update();
}

function hover(choice) {
  hovered = choice;
  update();
}

function choosable(item, kind, index) {
  item.addEventListener("focus", () => select(kind, index));
  item.addEventListener("click", () => select(kind, index));
  item.addEventListener("mouseenter", () => hover({ kind, index }));
  return item;
}

function drawWords() {
  const { look } = current();
  const list = element("div", { role: "listbox", dir: "auto" });
  list.setAttribute("aria-label", "who looks");
  list.setAttribute("aria-orientation", "horizontal");
  tokens = look.looking.map((word, index) => {
    const label = element("bdi", { textContent: word });
    const item = element("div", { role: "option", className: "token" }, label, element("span"));
    return choosable(item, "word", index);
  });
  const leftward = () => getComputedStyle(list).direction === "rtl";
  roving(tokens, 0, (key, at) => along(key, at, tokens.length, leftward()));
  list.addEventListener("mouseleave", () => hover(null));
  list.append(...tokens);
  const title = look.by_cells ? "The picture looks at the words" : "Who looks";
  words.replaceChildren(element("h3", { textContent: title }), list);
  words.hidden = tokens.length === 1;
}

/** Returns the outline of the object that a question names. */
function outline([top, left, bottom, right]) {
  const made = element("div", { className: "box" });
  const sides = { top, left, width: right - left, height: bottom - top };
  for (const [side, share] of Object.entries(sides)) made.style[side] = `${100 * share}%`;
  return made;
}

function drawCells() {
  const asked = data.questions[state.question];
  const { rows, columns } = current();
  const [width, height] = asked.size;
  const picture = element("img", {
    src: data.pale[asked.picture],
    alt: "the picture that the question is about",
    draggable: false,
  });
  const grid = element("div", { className: "grid", role: "grid" });
  grid.setAttribute("aria-label", "cells of the picture");
  grid.style.gridTemplateRows = `repeat(${rows}, 1fr)`;
  cells = Array.from({ length: rows * columns }, (_, index) =>
    choosable(element("div", { role: "gridcell", className: "cell" }), "cell", index),
  );
  for (let row = 0; row < rows; row++) {
    const line = element("div", { role: "row", className: "line" });
    line.style.gridTemplateColumns = `repeat(${columns}, 1fr)`;
    line.append(...cells.slice(row * columns, (row + 1) * columns));
    grid.append(line);
  }
  roving(cells, 0, (key, at) => {
    const column = at % columns;
    const steps = { ArrowUp: -columns, ArrowDown: columns, Home: -column, End: columns - 1 - column };
    if (key === "ArrowLeft") return column ? at - 1 : at;
    if (key === "ArrowRight") return column < columns - 1 ? at + 1 : at;
    const to = at + steps[key];
    return to < 0 || to >= cells.length ? at : key in steps ? to : undefined;
  });
  grid.addEventListener("mouseleave", () => hover(null));
  original.src = data.pictures[asked.picture];
  frame.style.aspectRatio = `${width} / ${height}`;
  frame.replaceChildren(picture, grid, ...(asked.box ? [outline(asked.box)] : []));
}

function summarise(choice) {
  const { look, columns, at } = current();
  const bdi = (word) => element("bdi", { className: "chosen", textContent: word });
  if (choice.kind === "word") {
    const weights = cells.map((_, cell) => at(choice.index, cell));
    const total = weights.reduce((sum, x) => sum + x, 0);
    const most = [...weights.keys()].sort((a, b) => weights[b] - weights[a]).slice(0, 3);
    const told = most.map((cell) => `${cellName(cell, columns)}: ${percent(weights[cell])}`);
    const verb = look.by_cells ? "is looked at most from" : "looks most at";
    const whole = look.by_cells || total > 0.995;
    const rest = whole ? "" : `; ${percent(total)} of its look is at the picture`;
    const { inside } = data.questions[state.question];
    const mass = inside?.reduce((sum, share, cell) => sum + share * weights[cell], 0);
    const boxed = inside && !look.by_cells ? `; ${percent(mass)} in the box` : "";
    summary.replaceChildren(
      bdi(look.looking[choice.index]),
      ` ${verb} ${told.join("; ")}${rest}${boxed} (${look.name}).`,
    );
    return;
  }
  const weights = look.looking.map((_, word) => at(word, choice.index));
  const most = [...weights.keys()].sort((a, b) => weights[b] - weights[a]).slice(0, 3);
  const verb = look.by_cells ? "looks most at" : "is looked at by";
  summary.replaceChildren(
    `${cellName(choice.index, columns)} ${verb} `,
    ...most.flatMap((word, n) => [
      n ? ", " : "",
      element("bdi", { className: "chosen", textContent: look.looking[word] }),
      ` ${percent(weights[word])}`,
    ]),
    ` (${look.name}).`,
  );
}

/** Shows the cells of the chosen word, or the words of the chosen cell. */
function update() {
  const { look, columns, at } = current();
  const choice = hovered ?? state;
  const word = choice.kind === "word" ? choice.index : state.word;
  const weights = cells.map((_, cell) => at(word, cell));
  const densest = Math.max(...weights, 4 / cells.length);
  cells.forEach((cell, index) => {
    cell.style.setProperty("--depth", (weights[index] / densest).toFixed(3));
    cell.setAttribute("aria-label", `${cellName(index, columns)}: ${percent(weights[index])}`);
    cell.title = percent(weights[index]);
    cell.classList.toggle("chosen", choice.kind === "cell" && choice.index === index);
  });
  tokens.forEach((token, index) => {
    const value = choice.kind === "cell" ? at(index, choice.index) : 0;
    shade(token, value);
    token.lastChild.textContent = choice.kind === "cell" ? percent(value) : "";
    token.classList.toggle("chosen", choice.kind === "word" && choice.index === index);
    token.setAttribute("aria-selected", String(index === state.word));
  });
  summarise(choice);
}

function redraw() {
  const asked = data.questions[state.question];
  question.textContent = asked.question;
  question.dir = "auto";
  answers.replaceChildren(
    asked.right === null ? "" : asked.right ? "✓ " : "✗ ",
    element("bdi", { textContent: asked.predicted }),
    ` ${percent(asked.probability)}`,
    ...(asked.answer === null || asked.right
      ? []
      : ["; true: ", element("bdi", { textContent: asked.answer })]),
  );
  state.look = Math.min(state.look, asked.looks.length - 1);
  const names = asked.looks.map(({ name }) => element("span", { textContent: name }));
  const group = choices("Glimpse, layer or head", "look", names, state.look, (n) => {
    state.look = n;
    drawWords();
    select("word", Math.min(state.word, tokens.length - 1));
  });
  looks.replaceChildren(...(names.length > 1 ? [group] : []));
  drawWords();
  drawCells();
  select("word", 0);
}

function gallery() {
  const contents = data.questions.map((asked) => {
    const picture = element("img", { src: data.pictures[asked.picture], alt: "" });
    const words = element("span", { dir: "auto", textContent: asked.question });
    return element("span", { className: "card" }, picture, words);
  });
  const group = choices("Questions", "question", contents, 0, (n) => {
    state.question = n;
    redraw();
  });
  group.className = "gallery";
  return group;
}

function start() {
  if (!data.questions.every(({ looks: found }) => found.length)) return;
  const several = data.questions.length > 1 ? [gallery()] : [];
  const hint = element("p", {
    className: "hint",
    textContent:
      "The denser the red of a cell, the more it is looked at, up to the largest weight. " +
      "Point at a word or a cell, tap it or move with the arrow keys.",
  });
  redraw();
  const aside = element("div", { className: "aside" }, original, question, answers, looks, words, hint, summary);
  show(...several, element("div", { className: "split" }, frame, aside));
}

start();
