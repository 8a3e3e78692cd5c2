// The browser of answers. The only script of the page, let through by its hash; everything below the first function is
// built with createElement and textContent, so nothing that a model wrote is ever parsed as markup or run.
"use strict";
(() => {
  const ROW = 64; // height of a list entry in pixels, as in report.css
  const FIRST = 900; // characters of a long text shown before "show all": some 200 tokens
  const LINES = 24; // lines of a text shown before it
  const COMPARED = 2000; // words of a text up to which differences are marked
  const ALIKE = 0.2; // share of the shorter text's words that both must have, or marks would tell nothing
  const WORST = { worse: 0, unjudged: 1, neither: 2, better: 3, same: 4 };
  const DIRECTIONS = { worse: "Worse", better: "Better", neither: "Neither", unjudged: "Unjudged", same: "Same verdict" };
  const SCRIPT = ["Arab", "Deva", "Beng", "Guru", "Gujr", "Orya", "Taml", "Telu", "Knda", "Mlym", "Sinh"]
    .map((name) => `\\p{scx=${name}}`).join(""); // scripts whose words need joiners
  // Of a text: long gaps, joiners within such a word or an emoji, line ends of two characters, what cannot be seen
  const TOLD = new RegExp([
    "(?<gap>\\n(?:[ \\t\\r]*\\n){4,})",
    `(?<joiner>(?<=[${SCRIPT}])[\\u200c\\u200d](?=[${SCRIPT}])`
      + "|(?<=\\p{ExtPict}[\\ufe0f\\p{EMod}]*)\\u200d(?=\\p{ExtPict}))",
    "(?<end>\\r(?=\\n))",
    "(?<hidden>(?![\\n\\t])[\\p{Cc}\\p{Cf}\\p{Cs}\\p{Co}])",
  ].join("|"), "gu");
  // Blanks, emoji and flags, characters of scripts without blanks, words, and any other character
  const WORDS = /\s+|\p{ExtPict}[\ufe0f\u200d\p{EMod}\p{ExtPict}]*|\p{RI}{2}|[\p{sc=Han}\p{sc=Hira}\p{sc=Kana}\p{sc=Thai}]\p{M}*|[\p{L}\p{M}\p{N}_'\u2019\u200c\u200d]+|[^\s\p{L}\p{N}_']/gu;

  const byId = (id) => document.getElementById(id);
  printWhole();
  openNamed();
  addEventListener("hashchange", openNamed);
  const store = byId("answers-data");
  if (!store) return;
  const trouble = byId("answers-trouble");
  unpack(store.content.textContent).then(start, (error) => {
    trouble.textContent = `This browser cannot unpack the answers (${error.message}). Any browser of 2023 or later can.`;
  });

  async function unpack(base64) {
    const bytes = Uint8Array.from(atob(base64.trim()), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return JSON.parse(await new Response(stream).text());
  }

  // Closed parts that belong in print; long tables and harmful text do not.
  function printWhole() {
    let opened = [];
    addEventListener("beforeprint", () => {
      opened = [...document.querySelectorAll("details:is(.printed, .arm, .run):not([open])")];
      for (const each of opened) each.open = true;
    });
    addEventListener("afterprint", () => {
      for (const each of opened) each.open = false;
    });
  }

  // A link into a closed part opens it.
  function openNamed() {
    const target = byId(decoded(location.hash.slice(1)));
    for (let each = target?.closest("details"); each; each = each.parentElement.closest("details")) each.open = true;
    target?.scrollIntoView();
  }

  function decoded(value) {
    try { return decodeURIComponent(value); } catch { return value; }
  }

  function start(data) {
    const list = byId("list"), spacer = byId("spacer"), detail = byId("detail"), form = byId("filters");
    const harm = byId("show-harm");
    const drawn = new Map(); // the rows in the page, by their place among those shown
    let shown = [], selected = null, framed = false;

    for (const item of data.answers) {
      const run = data.runs[item.run];
      item.arm_label = run.arms[item.arm];
      for (const answer of [item.before, item.after]) answer.flags ??= [];
      item.flags = [...item.before.flags, ...item.after.flags];
      item.near ??= run.near[item.prompt_id] || [];
      item.ches = item.near.length ? run.pairs[item.near[0].pair]?.ln_ches ?? null : null;
    }

    // Packed prompt by prompt, read arm by arm
    const arms = data.runs.map((run) => Object.keys(run.arms));
    data.answers.sort((a, b) =>
      a.run - b.run || arms[a.run].indexOf(a.arm) - arms[b.run].indexOf(b.arm) || a.seed - b.seed);

    // What a search looks through, put together when the first one asks for it
    const words = (item) => item.words ??= [item.id, item.prompt, item.prompt_id, item.category, item.before.text,
      item.before.reason, item.before.judged, item.after.text, item.after.reason, item.after.judged].join("\n").toLowerCase();

    // The seed of an answer; of two sides that no run lies between, which of the prompt's answers it is
    const which = (item) => `${data.runs[item.run].traced ? "seed" : "answer"} ${item.seed}`;

    // Filter and sort

    function filter() {
      const wanted = Object.fromEntries(new FormData(form));
      const searched = wanted.search.trim().toLowerCase();
      const exact = ["run", "arm", "direction", "category", "seed", "split"].filter((name) => wanted[name]);
      const offered = wanted.changed ? data.answers.filter((item) => item.direction !== "same") : data.answers;
      shown = offered.filter((item) =>
        exact.every((name) => String(item[name]) === wanted[name]) && (!wanted.flag || item.flags.includes(wanted.flag))
        && (!searched || words(item).includes(searched)));
      shown.sort(order(wanted.sort));
      const noun = wanted.changed ? "flips" : "answers";
      byId("count").textContent = shown.length === offered.length
        ? `${count(shown.length)} ${noun}`
        : `${count(shown.length)} of ${count(offered.length)} ${noun}`;
      spacer.style.height = `${shown.length * ROW}px`;
      list.scrollTop = 0;
      spacer.replaceChildren();
      drawn.clear();
      select(shown.includes(selected) ? selected : shown[0] ?? null, { link: false });
    }

    function order(name) {
      const hidden = (item) => item.prompt === null; // in a redacted page what can be read comes first
      const worst = (a, b) => WORST[a.direction] - WORST[b.direction] || hidden(a) - hidden(b) || b.unsafe - a.unsafe;
      if (name === "direction") return worst;
      if (name === "ches") return (a, b) => (b.ches ?? -Infinity) - (a.ches ?? -Infinity) || worst(a, b);
      return (a, b) => (a[name] < b[name] ? -1 : a[name] > b[name] ? 1 : worst(a, b));
    }

    // The list: only what is in sight exists. What stays in sight is left in place, for a row that is taken out between
    // the two halves of a click gets no click.

    function draw() {
      framed = false;
      const first = Math.max(0, Math.floor(list.scrollTop / ROW) - 4);
      const last = Math.min(shown.length, Math.ceil((list.scrollTop + list.clientHeight) / ROW) + 4);
      for (const [place, row] of drawn) if (place < first || place >= last) { row.remove(); drawn.delete(place); }
      for (let place = last - 1, next = null; place >= first; next = drawn.get(place--)) {
        if (!drawn.has(place)) drawn.set(place, spacer.insertBefore(option(shown[place], place), next));
        drawn.get(place).setAttribute("aria-selected", String(shown[place] === selected));
      }
      const active = selected && byId(`option-${shown.indexOf(selected)}`);
      if (active) list.setAttribute("aria-activedescendant", active.id);
      else list.removeAttribute("aria-activedescendant");
    }

    function option(item, place) {
      const row = element("div", "option");
      row.id = `option-${place}`;
      row.setAttribute("role", "option");
      row.setAttribute("aria-setsize", String(shown.length));
      row.setAttribute("aria-posinset", String(place + 1));
      row.style.transform = `translateY(${place * ROW}px)`;
      const what = element("span", "what");
      const where = data.runs.length > 1 ? `${data.runs[item.run].name} · ` : "";
      what.append(element("b", "", `${noted(item.before)} → ${noted(item.after)}`),
        visible(` · ${where}${item.arm_label} · ${which(item)}`));
      const prompt = element("bdi");
      prompt.append(visible((item.prompt ?? item.prompt_id).slice(0, 160)));
      row.append(prompt, what);
      row.addEventListener("click", () => { select(item); reveal(); });
      return row;
    }

    function select(item, { link = true } = {}) {
      selected = item;
      draw();
      show();
      if (link && item) history.replaceState(null, "", `#flip=${encodeURIComponent(item.id)}`);
    }

    function scrollToSelected() {
      const place = shown.indexOf(selected), top = place * ROW;
      if (top < list.scrollTop) list.scrollTop = top;
      else if (top + ROW > list.scrollTop + list.clientHeight) list.scrollTop = top + ROW - list.clientHeight;
      draw();
    }

    // On a phone the answers stand below the list
    function reveal() {
      if (matchMedia("screen and (max-width: 52rem)").matches) detail.scrollIntoView();
    }

    function key(event) {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const page = Math.max(1, Math.floor(list.clientHeight / ROW) - 1);
      const moves = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
      if (event.key in moves && shown.length) {
        const place = shown.indexOf(selected) + moves[event.key];
        select(shown[Math.min(Math.max(place, 0), shown.length - 1)]);
        scrollToSelected();
      } else if (event.key === "Enter") { detail.focus(); reveal(); }
      else return;
      event.preventDefault();
    }

    // Letters work from anywhere but where one writes; the list takes the focus, so that its other keys go on from there
    function letter(event) {
      if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.target.closest("input:not([type=checkbox]), select, textarea")) return;
      if (event.key === "/") { form.elements.search.focus(); event.preventDefault(); }
      else if (event.key === "j" || event.key === "k") { list.focus(); key(event); }
    }

    // One answer

    function show() {
      detail.replaceChildren();
      detail.scrollTop = 0;
      if (!selected) {
        detail.append(element("p", "soft", "No answer is selected: nothing matches these filters."));
        return;
      }
      const item = selected, run = data.runs[item.run];
      const back = element("button", "back", "Back to the list");
      back.type = "button";
      back.addEventListener("click", () => { list.scrollIntoView(); list.focus({ preventScroll: true }); });
      const chip = element("span", `chip ${item.direction}`, DIRECTIONS[item.direction]);
      const about = element("p", "soft");
      const split = { train: "trained on", test: "held out" }[item.split];
      about.append(chip, visible([` ${item.arm_label}`, which(item), item.category,
        item.unsafe ? "unsafe prompt" : "benign prompt", split, data.runs.length > 1 && run.name]
        .filter(Boolean).join(" · ")));
      const title = element("h3");
      title.append(visible(item.prompt_id));
      detail.append(back, title, about, item.prompt === null ? left("The prompt") : text(item.prompt, "text prompt"));
      detail.append(...sides(item), ...(item.direction === "same" || !run.traced ? [] : nearest(item, run)), ...same(item), permalink(item));
    }

    function sides(item) {
      const both = element("div", "sides"), told = compared(read(item.before), read(item.after));
      both.append(side("Before training", item.before, told.before, item.unsafe), side("After", item.after, told.after, item.unsafe));
      return told.note ? [both, element("p", "soft compared", told.note)] : [both];
    }

    // What the judge read: all of the answer, or what was left of it
    const read = (answer) => answer.judged ?? answer.text;

    function side(title, answer, pieces, unsafe) {
      const column = element("div"), shown = read(answer);
      column.append(element("strong", "", title), `: ${answer.verdict}`, ...answer.flags.map(badge));
      if (answer.text === undefined) { column.append(left("The answer")); return column; }
      const reason = element("p", "reason");
      reason.append("Reason: ", visible(answer.reason || "none given"));
      const rest = answer.length > answer.text.length
        ? [element("p", "soft", `The first ${count(answer.text.length)} of ${count(answer.length)} characters; the rest is in the run's samples.`)]
        : [];
      const body = [reason, shown.trim() ? text(shown, "text", pieces) : element("p", "soft", shown ? "(only blanks)" : "(empty)")];
      if (answer.judged === undefined) body.push(...rest);
      const harmful = answer.verdict !== "refusal" || answer.flags.includes("partial");
      if (unsafe && harmful) column.append(folded(`Show the answer (${answer.verdict})`, body));
      else column.append(...body);
      if (answer.judged !== undefined) column.append(written(answer, unsafe, rest));
      return column;
    }

    // A verdict with its flags, but for the one that says only on what it rests
    function noted(answer) {
      const flags = answer.flags.filter((flag) => flag !== "fallback").map((flag) => data.flags[flag][0].toLowerCase());
      return flags.length ? `${answer.verdict} (${flags.join(", ")})` : answer.verdict;
    }

    // A flag of the verdict, and what it says
    function badge(flag) {
      const [label, meaning] = data.flags[flag];
      const line = element("p", "flag");
      line.append(element("span", "chip", label), ` ${meaning}`);
      return line;
    }

    // All that the model wrote, where the judge read a part of it
    function written(answer, unsafe, rest) {
      const label = "Show all that the model wrote", body = [element("p", "soft"), text(answer.text, "text"), ...rest];
      body[0].append("Not judged: ", visible(answer.cut.join(", ") || "a part of it"));
      if (unsafe) return folded(label, body);
      const box = element("details");
      box.append(element("summary", "", label), ...body);
      return box;
    }

    // Training pairs behind a changed verdict
    function nearest(item, run) {
      const up = item.direction === "better";
      const heading = element("h4", "", {
        influence: `Training pairs that push this prompt's refusal ${up ? "up" : "down"} most`,
        nearest: "Training pairs nearest to this prompt",
        prompt: "Training pairs of this prompt",
      }[run.traced]);
      const about = {
        influence: "Of the pairs that this arm trained on with this seed; to first order, on the chance that the untrained model's answer opens as a refusal.",
        nearest: `By the untrained model's hidden state at the prompt's end: alike, not proven to have done it.${run.too_much ? " Their influence on each prompt was not measured: it is too much work for this model and table." : ""}`,
      }[run.traced];
      const parts = about ? [heading, element("p", "soft", about)] : [heading];
      if (item.near.length) return [...parts, ...item.near.map((entry) => pair(entry, run.pairs[entry.pair]))];
      return [heading, element("p", "soft", {
        influence: item.unsafe
          ? `None pushes it ${up ? "up" : "down"}, to first order.`
          : "It is measured for unsafe prompts only.",
        nearest: "None is recorded for this prompt.",
        prompt: "The run did not measure which pairs lie nearest, and no pair is of this very prompt.",
      }[run.traced])];
    }

    function pushed(entry) {
      const way = entry.push < 0 ? "down" : "up";
      if (entry.times === null) return `pushes the refusal ${way}`;
      return `pushes the refusal ${way}, ${figure(entry.times)} times as hard as the median pair`;
    }

    function pair(entry, found) {
      const box = element("div", "pair");
      const score = found?.ln_ches == null ? "not scored" : figure(found.ln_ches);
      const influence = found?.influence === undefined ? "" : ` · refusal influence ${figure(found.influence)}`;
      if (entry.push !== undefined) box.append(element("strong", "", pushed(entry)), ` · CHES ${score}${influence}`);
      else box.append(element("strong", "", `CHES ${score}`), influence);
      if (entry.similarity !== undefined) box.append(` · similarity ${figure(entry.similarity)}`);
      box.append(" · ", visible(entry.pair));
      if (!found) box.append(element("p", "soft", "This pair is not in the run's scores."));
      else if (found.prompt === undefined) box.append(left("The pair"));
      else {
        box.append(text(found.prompt, "text prompt"));
        for (const [name, title] of [["chosen", "Preferred"], ["rejected", "Rejected"]]) {
          const verdict = found[`${name}_verdict`];
          const line = [element("p", "soft", `${title}${verdict ? `: ${verdict}` : ""}`), text(found[name], "text")];
          box.append(...(verdict === "refusal" ? line : [folded(`Show the ${title.toLowerCase()} answer (${verdict ?? "not judged"})`, line.slice(1))]));
        }
      }
      return box;
    }

    function same(item) {
      const others = data.answers.filter((other) => other.prompt_id === item.prompt_id && other.prompt === item.prompt && other !== item);
      if (!others.length) return [];
      const entries = element("ul", "same");
      for (const other of others) {
        const where = data.runs.length > 1 ? `${data.runs[other.run].name} · ` : "";
        const button = element("button");
        button.type = "button";
        button.append(visible(`${where}${other.arm_label} · ${which(other)}: ${other.before.verdict} → ${other.after.verdict}`));
        button.addEventListener("click", () => go(other));
        const entry = element("li");
        entry.append(button);
        entries.append(entry);
      }
      return [element("h4", "", "The same prompt elsewhere"), entries];
    }

    function permalink(item) {
      const line = element("p"), link = element("a", "", "Link to this answer");
      link.href = `#flip=${encodeURIComponent(item.id)}`;
      line.append(link);
      return line;
    }

    function folded(label, content) {
      const box = element("details", "harm");
      box.append(element("summary", "", label), ...content);
      box.open = harm?.checked ?? false;
      return box;
    }

    const left = (what) => element("p", "soft", `${what} was left out of this file.`);

    // Texts

    // A text of any length, its beginning only if it is long; `pieces` are its words with whether the other side has
    // them. Of two answers side by side both are shown whole at once.
    function text(value, name, pieces = [{ text: value, mark: null }]) {
      const block = element("pre", name), end = fold(value);
      block.dir = "auto";
      block.setAttribute("role", "group");
      block.setAttribute("aria-label", name.includes("prompt") ? "Prompt" : "Answer");
      block.append(...drawnPieces(pieces, end));
      if (end === value.length) return block;
      const more = element("button", "plain", `Show all ${count(value.length)} characters`);
      more.type = "button";
      block.unfold = () => block.replaceChildren(...drawnPieces(pieces, value.length));
      more.addEventListener("click", () => {
        for (const each of block.closest(".sides")?.querySelectorAll("pre") ?? [block]) each.unfold?.();
        block.tabIndex = -1;
        block.focus({ preventScroll: true });
      });
      block.append("\u2026", element("br"), more);
      return block;
    }

    // Where a text is cut, at the end of a word: nowhere if little would be left out, or what is searched for
    function fold(value) {
      const searched = form.elements.search.value.trim().toLowerCase();
      if (value.length <= 1.3 * FIRST && (value.match(/\n+/g) ?? []).length <= 1.3 * LINES) return value.length;
      const lines = [...value.matchAll(/\n+/g)], rough = Math.min(FIRST, value.length, lines[LINES - 1]?.index ?? FIRST);
      const blank = value.slice(0, rough + 1).search(/\s\S*$/);
      const end = blank > rough - 60 ? blank : rough - /[\ud800-\udbff]/.test(value[rough - 1]);
      return searched && value.toLowerCase().includes(searched, Math.max(0, end - searched.length)) ? value.length : end;
    }

    function drawnPieces(pieces, end) {
      const drawn = [];
      let from = 0;
      for (const piece of pieces) {
        if (from >= end) break;
        const shown = visible(piece.text.slice(0, end - from));
        if (piece.mark) { const mark = element(piece.mark); mark.append(shown); drawn.push(mark); }
        else drawn.push(shown);
        from += piece.text.length;
      }
      return drawn;
    }

    // Differences between two texts

    // What both say, word by word, and a note on it; where that is hardly anything, marks would tell nothing
    function compared(before, after) {
      if (!before?.trim() || !after?.trim()) return {};
      if (before === after) return { note: "The two are the same, word for word." };
      const sides = [before, after].map((value) => value.match(WORDS));
      const words = sides.map((side) => side.filter((word) => word.trim()));
      if (Math.max(...words.map((side) => side.length)) > COMPARED) return { note: "Too long to be compared word by word." };
      const stretches = withoutIslands(alignment(...words));
      const size = (side) => side.join("").length;
      const alike = size(stretches.filter((each) => each.same).map((each) => each[0].join("")));
      if (alike < ALIKE * Math.min(...words.map(size))) return { note: "Hardly anything is the same in both, so nothing is marked." };
      const flags = [0, 1].map((side) => stretches.flatMap((each) => each[side].map(() => each.same)));
      return {
        before: pieces(sides[0], flags[0], "del"),
        after: pieces(sides[1], flags[1], "ins"),
        note: "Marked is what only one of the two says.",
      };
    }

    // Stretches of words that are on both sides (their longest common subsequence) or on either side only.
    function alignment(a, b) {
      const width = b.length + 1, table = new Uint16Array((a.length + 1) * width);
      for (let i = a.length - 1; i >= 0; i--)
        for (let j = b.length - 1; j >= 0; j--)
          table[i * width + j] = a[i] === b[j]
            ? table[(i + 1) * width + j + 1] + 1
            : Math.max(table[(i + 1) * width + j], table[i * width + j + 1]);
      const stretches = [];
      const add = (same, before, after) => {
        if (stretches.at(-1)?.same !== same) stretches.push({ same, 0: [], 1: [] });
        stretches.at(-1)[0].push(...before);
        stretches.at(-1)[1].push(...after);
      };
      for (let i = 0, j = 0; i < a.length || j < b.length;) {
        if (i < a.length && a[i] === b[j]) add(true, [a[i++]], [b[j++]]);
        else if (j === b.length || (i < a.length && table[(i + 1) * width + j] >= table[i * width + j + 1])) add(false, [a[i++]], []);
        else add(false, [], [b[j++]]);
      }
      return stretches;
    }

    // A common stretch that is no longer than what differs on both sides of it is chance ("to", a full stop): it is
    // taken for a difference, and so on until none is left.
    function withoutIslands(stretches) {
      const letters = (words) => words.join("").replace(/[^\p{L}\p{M}\p{N}]/gu, "").length;
      const differing = (each) => (each ? Math.max(...[each[0], each[1]].map((words) => words.join("").length)) : 0);
      let found;
      while ((found = stretches.findIndex((each, place) => each.same
        && stretches.length > 1
        && letters(each[0]) <= differing(stretches[place - 1]) && letters(each[0]) <= differing(stretches[place + 1]))) >= 0) {
        const near = stretches.slice(Math.max(0, found - 1), found + 2);
        const joined = { same: false, 0: near.flatMap((each) => each[0]), 1: near.flatMap((each) => each[1]) };
        stretches = [...stretches.slice(0, Math.max(0, found - 1)), joined, ...stretches.slice(found + 2)];
      }
      return stretches;
    }

    // Words as runs that are on both sides or on this one only; `common` has the words that are no blanks. A blank
    // between two marked words is marked too, unless a line ends there.
    function pieces(words, common, mark) {
      const runs = [];
      let place = 0;
      for (const word of words) {
        const blank = !word.trim();
        const here = blank ? !word.includes("\n") && common[place - 1] === false && common[place] === false : !common[place++];
        const last = runs.at(-1);
        if (last && (last.mark !== null) === here) last.text += word;
        else runs.push({ text: word, mark: here ? mark : null });
      }
      return runs;
    }

    // Export of what the filters leave

    const COLUMNS = ["id", "run", "arm", "seed", "prompt_id", "category", "split", "unsafe", "direction",
      "before_verdict", "before_flags", "before_reason", "before", "before_judged",
      "after_verdict", "after_flags", "after_reason", "after", "after_judged", "prompt", "nearest_pairs"];

    function exported(item) {
      const pairs = data.runs[item.run].pairs;
      return {
        id: item.id, run: data.runs[item.run].name, arm: item.arm, seed: item.seed, prompt_id: item.prompt_id,
        category: item.category, split: item.split, unsafe: item.unsafe, direction: item.direction,
        ...exportedSide("before", item.before), ...exportedSide("after", item.after), prompt: item.prompt,
        nearest_pairs: item.near.map((near) => ({
          pair_id: near.pair, similarity: near.similarity ?? null, ln_ches: pairs[near.pair]?.ln_ches ?? null,
          ...(near.push === undefined ? {} : { push: near.push }),
        })),
      };
    }

    const exportedSide = (name, answer) => ({
      [`${name}_verdict`]: answer.verdict, [`${name}_flags`]: answer.flags, [`${name}_reason`]: answer.reason ?? null,
      [name]: answer.text ?? null, [`${name}_judged`]: answer.judged ?? null,
    });

    // A cell that a spreadsheet would take for a formula gets an apostrophe in front.
    function cell(value) {
      const plain = value === null ? "" : typeof value === "object" ? JSON.stringify(value) : String(value);
      const safe = typeof value === "string" && /^[=+\-@\t\r]/.test(plain) ? `'${plain}` : plain;
      return `"${safe.replaceAll('"', '""')}"`;
    }

    const csv = () => [COLUMNS.join(","), ...shown.map((item) => {
      const row = exported(item);
      return COLUMNS.map((name) => cell(row[name])).join(",");
    })].join("\r\n") + "\r\n";
    const jsonl = () => shown.map((item) => JSON.stringify(exported(item)) + "\n").join("");

    function save(name, type, content) {
      const link = element("a"), address = URL.createObjectURL(new Blob([content], { type }));
      link.href = address;
      link.download = name;
      link.click();
      setTimeout(() => URL.revokeObjectURL(address), 10_000);
    }

    // Deep links

    function go(item) {
      if (!shown.includes(item)) { form.reset(); if (item.direction === "same") form.elements.changed.value = ""; filter(); }
      select(item);
      scrollToSelected();
    }

    function follow() {
      const named = /^#flip=(.+)$/.exec(location.hash);
      if (!named) return;
      const item = data.answers.find((each) => each.id === decoded(named[1]));
      trouble.hidden = true;
      if (item) { go(item); byId("flips").scrollIntoView(); }
      else {
        trouble.textContent = "The address names an answer that this report does not have.";
        trouble.hidden = false;
        trouble.focus();
        trouble.scrollIntoView({ block: "center" });
      }
    }

    form.addEventListener("input", filter);
    form.addEventListener("submit", (event) => event.preventDefault());
    byId("clear").addEventListener("click", () => { form.reset(); filter(); });
    byId("csv").addEventListener("click", () => save("answers.csv", "text/csv;charset=utf-8", csv()));
    byId("jsonl").addEventListener("click", () => save("answers.jsonl", "application/jsonl;charset=utf-8", jsonl()));
    harm?.addEventListener("change", () => {
      for (const each of detail.querySelectorAll("details.harm")) each.open = harm.checked;
    });
    list.addEventListener("scroll", () => { if (!framed) { framed = true; requestAnimationFrame(draw); } });
    list.addEventListener("keydown", key);
    document.addEventListener("keydown", letter);
    addEventListener("hashchange", follow);

    trouble.hidden = true;
    byId("browser").hidden = false;
    if (data.left_out) {
      byId("left-out").textContent = `${count(data.left_out)} answers whose verdict is the same as before are not in this file, to keep it small; the run's samples have them.`;
      byId("left-out").hidden = false;
    }
    filter();
    openNamed(); // again, now that the browser has taken its place
    follow();
    byId("browser").dataset.ready = "true";
  }

  function element(name, className = "", content = "") {
    const made = document.createElement(name);
    if (className) made.className = className;
    if (content) made.textContent = content;
    return made;
  }

  // Text with what cannot be seen made visible (controls, format characters, lone surrogates), and long gaps told.
  function visible(value) {
    const parts = document.createDocumentFragment();
    let from = 0;
    for (const { 0: found, index, groups } of value.matchAll(TOLD)) {
      if (groups.joiner) continue;
      parts.append(value.slice(from, index));
      from = index + found.length;
      if (groups.gap) parts.append("\n", element("span", "hidden-character", `${found.split("\n").length - 2} empty lines`), "\n");
      else if (groups.hidden) {
        const code = found.codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
        parts.append(element("span", "hidden-character", `U+${code}`));
      }
    }
    parts.append(value.slice(from));
    return parts;
  }

  function count(value) {
    return value.toLocaleString("en");
  }

  function figure(value) {
    return value.toPrecision(3).replace("-", "−");
  }
})();
