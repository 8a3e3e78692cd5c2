"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const data = JSON.parse(byId("data").content.textContent);
  const VERDICT = data.columns.indexOf("verdict"), ID = data.columns.indexOf("id");
  const TYPICAL = 120; // seconds: whoever took longer was away
  const verdicts = data.rows.map((row) => row[VERDICT]);
  const visited = [], paces = [];
  let at = 0, shown = "start", since = 0, keeps = true;

  // What the browser keeps

  function restore() {
    try {
      const kept = JSON.parse(localStorage.getItem(data.key) || "{}");
      data.rows.forEach((row, place) => {
        if (data.texts[place].choices.includes(kept[row[ID]])) verdicts[place] = kept[row[ID]];
      });
    } catch { keeps = false; }
  }

  function keep() {
    const said = {};
    data.rows.forEach((row, place) => { if (verdicts[place]) said[row[ID]] = verdicts[place]; });
    try { localStorage.setItem(data.key, JSON.stringify(said)); keeps = true; } catch { keeps = false; }
    byId("kept").textContent = keeps ? "" : "This browser keeps nothing for this page: download the labels before you close it.";
  }

  // The file

  const quote = (cell) => /[",;\t\r\n]/.test(cell) || cell !== cell.trim() ? `"${cell.replaceAll('"', '""')}"` : cell;

  function file() {
    const rows = data.rows.map((row, place) => row.map((cell, column) => (column === VERDICT ? verdicts[place] : cell)));
    return [data.columns, ...rows].map((row) => row.map(quote).join(",") + "\r\n").join("");
  }

  function download() {
    const link = document.createElement("a");
    const address = URL.createObjectURL(new Blob(["\ufeff", file()], { type: "text/csv;charset=utf-8" }));
    link.href = address;
    link.download = data.name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(address), 10000);
    tell(`Downloaded ${data.name} with ${labelled()} labels.`);
  }

  async function copy() {
    try {
      await navigator.clipboard.writeText(file());
      tell(`Copied ${labelled()} labels as CSV.`);
    } catch { tell("This browser does not let the page copy: download instead."); }
  }

  const tell = (text) => { byId("kept").textContent = text; };

  // The page

  const labelled = () => verdicts.filter(Boolean).length;

  function pace() {
    if (paces.length < 3) return "";
    const left = (verdicts.length - labelled()) * paces.reduce((sum, each) => sum + each, 0) / paces.length;
    return left ? `about ${Math.max(1, Math.round(left / 60))} min at your pace` : "";
  }

  function show(what, focus) {
    shown = what;
    for (const name of ["start", "card", "end"]) byId(name).hidden = name !== what;
    const done = labelled(), left = verdicts.length - done;
    byId("count").textContent = done ? `${done} of ${verdicts.length} labelled, ${left} left` : `${verdicts.length} answers to label`;
    byId("progress").value = done;
    byId("pace").textContent = pace();
    window.scrollTo(0, 0);
    if (focus) byId(focus).focus({ preventScroll: true });
  }

  function open(place) {
    at = place;
    const text = data.texts[at];
    byId("ask").textContent = `Answer ${at + 1} of ${data.texts.length}`;
    byId("kind").textContent = text.unsafe ? "An unsafe request: to do it is harmful" : "A benign request: to do it is right";
    byId("prompt").textContent = text.prompt;
    byId("answer").textContent = text.answer || "(empty)";
    byId("cut").hidden = text.whole === null;
    byId("cut").open = false;
    byId("whole").textContent = text.whole || "";
    byId("choices").replaceChildren(...text.choices.map(choice));
    byId("back").disabled = !visited.length;
    since = performance.now();
    show("card", "ask");
  }

  function choice(name, place) {
    const button = document.createElement("button"), key = document.createElement("kbd");
    button.type = "button";
    key.textContent = place + 1;
    button.append(key, ` ${name[0].toUpperCase()}${name.slice(1)}`);
    button.setAttribute("aria-pressed", String(verdicts[at] === name));
    button.addEventListener("click", () => label(name));
    return button;
  }

  function label(name) {
    paces.push(Math.min((performance.now() - since) / 1000, TYPICAL));
    verdicts[at] = name;
    keep();
    forward();
  }

  // The next one without a label, those put off at the end again.
  function forward() {
    visited.push(at);
    const order = verdicts.map((_, step) => (at + 1 + step) % verdicts.length);
    const next = order.find((place) => !verdicts[place]);
    if (next === undefined) show("end", "done");
    else open(next);
  }

  function back() {
    if (visited.length) open(visited.pop());
    else if (shown === "end") open(verdicts.length - 1);
  }

  // Where the reader was, or the first one without a label.
  function begin() {
    const next = verdicts[at] ? verdicts.findIndex((verdict) => !verdict) : at;
    if (next < 0) show("end", "done");
    else open(next);
  }

  function help() {
    byId("begin").textContent = "Go on";
    show("start", "begin");
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    const number = Number(event.key);
    if (event.key === "Backspace" && shown !== "start") back();
    else if (event.key === "?") help();
    else if (shown === "card" && event.key.toLowerCase() === "s") forward();
    else if (shown === "card" && data.texts[at].choices[number - 1]) label(data.texts[at].choices[number - 1]);
    else return;
    event.preventDefault();
  });
  for (const [id, act] of Object.entries({ begin, help, back, skip: forward, again: back, save: download, download, copy }))
    byId(id).addEventListener("click", act);

  restore();
  byId("trouble").hidden = true;
  if (labelled()) byId("begin").textContent = "Go on";
  show("start", "begin");
  document.body.dataset.ready = "";
})();
