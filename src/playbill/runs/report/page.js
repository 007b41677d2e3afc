"use strict";
// The report page. Text of models and people only ever becomes a text node: nothing here writes markup.
(() => {
  const byId = (id) => document.getElementById(id);
  const parse = (id) => JSON.parse(byId(id).textContent);
  const run = parse("data-summary");
  const rows = parse("data-index").map(([model, id, sample, turns, outcome, codes, tokens, seconds, text]) =>
    ({ model, id, sample, turns, outcome, codes, tokens, seconds, text }));
  const lines = byId("data-dialogues").textContent.split("\n");
  const SEVERE = (code) => (run.rules[code] || {}).severity === "error";
  const OUTCOMES = ["answered", "truncated", "empty", "truncated_in_thinking", "refused", "context_exceeded", "error"];
  const words = (name) => name.replaceAll("_", " ");
  const count = (n, noun) => `${n.toLocaleString("en")} ${noun}${n === 1 ? "" : "s"}`;
  const number = (n) => (n === null || n === undefined ? "–" : n.toLocaleString("en"));
  const seconds = (s) => (s >= 100 ? `${Math.round(s)} s` : s >= 1 ? `${s.toFixed(1)} s` : `${Math.round(s * 1000)} ms`);

  function el(tag, options, ...children) {
    const svg = tag.startsWith("svg:");
    const node = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag.slice(4)) : document.createElement(tag);
    for (const [name, value] of Object.entries(options || {})) {
      if (name === "on") for (const [event, handler] of Object.entries(value)) node.addEventListener(event, handler);
      else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
    }
    node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
    return node;
  }

  // Text made visible: special tokens, control characters and line ends as what they are.
  const SPECIAL = /(<\|[^<>|\n]{1,40}\|>|<｜[^<>｜\n]{1,40}｜>|<\/?s>|<(?:bos|eos|pad|unk)>|<(?:start|end)_of_\w{1,20}>|\[\/?INST\]|<<\/?SYS>>|<\/?think(?:ing)?>)/;
  const CONTROL = /([\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff])/;
  const codePoint = (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`;

  function plain(text, needle) {
    return text.split(CONTROL).flatMap((piece, i) =>
      i % 2 ? el("span", { class: "ctl" }, codePoint(piece)) : marked(piece, needle));
  }
  function marked(text, needle) {
    if (!needle) return text ? [text] : [];
    const found = [], low = text.toLowerCase();
    let at = 0;
    for (let hit = low.indexOf(needle); hit >= 0; hit = low.indexOf(needle, at)) {
      found.push(text.slice(at, hit), el("mark", null, text.slice(hit, hit + needle.length)));
      at = hit + needle.length;
    }
    return [...found, text.slice(at)];
  }
  function visible(text) {
    return text.split(SPECIAL).flatMap((piece, i) => i % 2
      ? el("span", { class: "tok" }, piece)
      : piece.split("\n").flatMap((line, n) => [n ? el("span", { class: "nl" }, "⏎") : null, n ? "\n" : null, ...plain(line)]))
      .filter((piece) => piece !== null);
  }
  // The raw answer, with what cleaning took away struck through.
  function cleaned(raw, text) {
    const at = text ? raw.lastIndexOf(text) : -1;
    if (at < 0) return [el("span", { class: text ? "" : "gone" }, visible(raw))];
    const gone = (part) => (part ? el("span", { class: "gone" }, visible(part)) : null);
    return [gone(raw.slice(0, at)), el("span", null, visible(text)), gone(raw.slice(at + text.length))].filter(Boolean);
  }

  // The models side by side.
  function outcomeBar(outcomes, total) {
    const parts = [];
    let x = 0;
    for (const name of OUTCOMES) {
      const n = outcomes[name] || 0;
      if (!n) continue;
      const width = 180 * n / total;
      parts.push(el("svg:rect", { class: `o-${name}`, x, y: 0, width: Math.max(width - 1, 1), height: 12, rx: 2 },
        el("svg:title", null, `${words(name)}: ${n} (${(100 * n / total).toFixed(1)} %)`)));
      x += width;
    }
    const label = OUTCOMES.filter((o) => outcomes[o]).map((o) => `${words(o)} ${outcomes[o]}`).join(", ");
    return el("svg:svg", { viewBox: "0 0 180 12", width: 180, height: 12, preserveAspectRatio: "none", role: "img", "aria-label": label }, parts);
  }
  function histogram(spread, top, format) {
    if (!spread) return "–";
    const most = Math.max(...spread.counts), wide = 150 / spread.counts.length;
    const bars = spread.counts.map((n, i) => n && el("svg:rect", { class: "hist", x: i * wide, width: wide - 1,
      y: 30 - Math.max(28 * n / most, 1), height: Math.max(28 * n / most, 1) },
      el("svg:title", null, `${format(top * i / spread.counts.length)} to ${format(top * (i + 1) / spread.counts.length)}: ${n}`)));
    const label = `median ${format(spread.median)}, nine of ten below ${format(spread.high)}, most ${format(spread.most)}`;
    return [el("svg:svg", { viewBox: "0 0 150 44", width: 150, height: 44, role: "img", "aria-label": label },
      el("svg:line", { class: "axis", x1: 0, x2: 150, y1: 30.5, y2: 30.5 }), bars.filter(Boolean),
      el("svg:text", { x: 0, y: 42 }, "0"), el("svg:text", { x: 150, y: 42, "text-anchor": "end" }, format(top))),
    ];
  }
  function showModels() {
    const present = OUTCOMES.filter((o) => run.models.some((m) => m.outcomes[o]));
    byId("legend").append(...present.map((o) => el("li", { class: `o-${o}` }, el("span", { class: "swatch" }), words(o))));
    const head = ["Model", "Dialogues", "Outcomes", "Answer, tokens", "Time of an answer", "Tokens", "Findings"];
    const tokens = (n) => number(Math.round(n));
    const body = run.models.map((m, i) => {
      const settings = Object.entries(m.parameters).map(([k, v]) => `${k} ${JSON.stringify(v)}`).join(", ");
      const length = run.tokens.spreads[i], time = run.seconds.spreads[i];
      const errors = Object.entries(m.audit.findings).filter(([code]) => SEVERE(code)).reduce((n, [, f]) => n + f.calls, 0);
      const warnings = Object.values(m.audit.findings).reduce((n, f) => n + f.calls, 0) - errors;
      return el("tr", null,
        el("th", { class: "name", scope: "row" }, m.label, el("span", { class: "sub" }, m.backend || "", m.template ? ` · ${m.template} template` : ""),
          settings && el("span", { class: "sub" }, settings),
          el("span", { class: m.proof.stale ? "sub proof e" : "sub proof" }, m.proof.stamp || "no stamp"),
          m.proof.waived.map((text) => el("span", { class: "sub proof" }, `waived: ${text}`)),
          m.not_greedy && el("span", { class: "sub warn" }, `not greedy, its answers are samples: ${m.not_greedy}`)),
        el("td", { class: "num", "data-label": head[1] }, number(m.dialogues), el("span", { class: "sub" }, count(m.records, "answer"))),
        el("td", { class: "wide", "data-label": head[2] }, outcomeBar(m.outcomes, m.records), el("span", { class: "sub" }, `${(100 * (m.outcomes.answered || 0) / m.records).toFixed(1)} % answered`)),
        el("td", { "data-label": head[3] }, histogram(length, run.tokens.top, tokens), length && el("span", { class: "sub" }, `median ${tokens(length.median)}`)),
        el("td", { "data-label": head[4] }, histogram(time, run.seconds.top, seconds), time && el("span", { class: "sub" }, `median ${seconds(time.median)}`)),
        el("td", { class: "num", "data-label": head[5] }, `${number(m.output_tokens)} out`, el("span", { class: "sub" }, `${number(m.input_tokens)} in`),
          m.speed && el("span", { class: "sub" }, `${number(m.speed)} out a second`)),
        el("td", { class: "num", "data-label": head[6] }, errors ? el("span", { class: "e" }, count(errors, "error")) : el("span", { class: "good" }, "no errors"),
          el("span", { class: "sub" }, count(warnings, "warning"))));
    });
    byId("models").append(el("thead", null, el("tr", null, head.map((h) => el("th", { scope: "col" }, h)))), el("tbody", null, body));
    byId("failed").hidden = !run.failed.length;
    byId("failed").append(...run.failed.map((f) => el("li", null, el("b", null, f.label), ` was not run to its end: ${f.problem}`)));
  }
  function showFindings() {
    const codes = Object.keys(run.rules).sort();
    if (!codes.length) {
      byId("findings").append(el("p", { class: "good" }, "✓ Every prompt and every answer was judged; nothing was found."));
      return;
    }
    const cell = (model, index, code) => {
      const found = model.audit.findings[code];
      if (!found) return el("td", { class: "num", "data-label": model.label }, el("span", { class: "sub" }, "–"));
      const share = 100 * found.share;
      return el("td", { class: "num", "data-label": model.label }, el("button", { class: "share", type: "button", on: { click: () => filterBy(index, code) } },
        count(found.calls, "answer"),
        el("svg:svg", { class: `meter o-${SEVERE(code) ? "error" : "truncated"}`, viewBox: "0 0 100 4", width: 100, height: 4, "aria-hidden": "true" },
          el("svg:rect", { x: 0, y: 0, width: Math.max(share, 1), height: 4, rx: 2 })),
        el("span", { class: "sub" }, `${share.toFixed(share < 10 ? 1 : 0)} % of dialogues`)));
    };
    const body = codes.map((code) => el("tr", null,
      el("th", { class: "name", scope: "row" }, el("span", { class: `chip ${run.rules[code].severity}` }, `${code} ${run.rules[code].name}`),
        el("span", { class: "sub" }, run.rules[code].summary)),
      run.models.map((m, i) => cell(m, i, code))));
    byId("findings").append(el("div", { class: "scroll", tabindex: 0, role: "region", "aria-labelledby": "findings-head" }, el("table", null,
      el("thead", null, el("tr", null, el("th", { scope: "col" }, "What"), run.models.map((m) => el("th", { scope: "col" }, m.label)))),
      el("tbody", null, body))));
  }

  // The list: only the rows in sight are in the page.
  const ROW = 76;
  const list = byId("list"), runway = byId("runway");
  let shown = rows.map((_, i) => i), current = -1, drawn = "";
  const address = (row) => `#${[run.models[row.model].label, row.id, row.sample].map(encodeURIComponent).join("/")}`;
  const addresses = new Map(rows.map((row, i) => [address(row), i]));

  function drawList() {
    const first = Math.max(0, Math.floor(list.scrollTop / ROW) - 4);
    const last = Math.min(shown.length, first + Math.ceil(list.clientHeight / ROW) + 9);
    const state = `${first} ${last} ${current} ${shown.length} ${shown[first]}`;
    if (state === drawn) return;
    drawn = state;
    runway.style.height = `${shown.length * ROW}px`;
    runway.replaceChildren(...shown.slice(first, last).map((place, i) => listRow(place, first + i)));
  }
  function listRow(place, position) {
    const row = rows[place], errors = row.codes.filter(SEVERE).length, warnings = row.codes.length - errors;
    const node = el("a", { class: "row", role: "option", href: address(row), tabindex: -1, id: `row-${place}`,
      "aria-selected": String(place === current), "aria-posinset": position + 1, "aria-setsize": shown.length },
      el("div", { class: `head o-${row.outcome}` }, el("span", { class: "swatch", title: words(row.outcome) }), el("span", { class: "id" }, plain(row.id)),
        row.sample > 0 && el("span", { class: "model" }, `sample ${row.sample}`),
        el("span", { class: "badge" }, errors > 0 && el("span", { class: "e" }, `● ${errors}`), warnings > 0 && el("span", { class: "w" }, `▲ ${warnings}`), count(row.turns, "turn"))),
      el("div", { class: "text" }, row.text ? plain(row.text) : `(${words(row.outcome)})`),
      el("div", { class: "model" }, run.models[row.model].label));
    node.style.top = `${position * ROW}px`;
    return node;
  }
  function filter() {
    const needle = byId("search").value.trim().toLowerCase();
    // Lines are JSON: what is searched is written as JSON writes it; only a line that has it is parsed, to look closer.
    const written = JSON.stringify(needle).slice(1, -1).replaceAll("<", "\\u003c").toLowerCase();
    const model = byId("by-model").value, outcome = byId("by-outcome").value, finding = byId("by-finding").value;
    const fits = (row, i) => (model === "" || row.model === Number(model)) && (outcome === "" || row.outcome === outcome)
      && (finding === "" || (finding === "any" ? row.codes.some(SEVERE) : row.codes.includes(finding)))
      && (needle === "" || row.id.toLowerCase().includes(needle) || (lines[i].toLowerCase().includes(written) && says(lines[i], needle)));
    shown = [];
    rows.forEach((row, i) => { if (fits(row, i)) shown.push(i); });
    byId("clear").hidden = !(needle || model || outcome || finding);
    byId("count").textContent = shown.length === rows.length ? count(rows.length, "dialogue")
      : `${number(shown.length)} of ${count(rows.length, "dialogue")}`;
    drawn = "";
    list.scrollTop = 0;
    drawList();
    if (!shown.length) runway.replaceChildren(el("p", { class: "empty" }, "No dialogue fits these filters."));
  }
  function says(line, needle) {
    const has = (text) => typeof text === "string" && text.toLowerCase().includes(needle);
    const inMessage = ({ content }) => has(content) || (Array.isArray(content) && content.some((part) => part && has(part.text)));
    return JSON.parse(line).turns.some((turn) => has(turn.text) || has(turn.raw) || has(turn.thinking)
      || has(turn.prompt && turn.prompt[1]) || has(turn.error && turn.error.message)
      || (turn.messages || []).some(inMessage) || (turn.findings || []).some(([, message]) => has(message)));
  }
  function filterBy(model, code) {
    byId("by-model").value = String(model);
    byId("by-finding").value = code;
    byId("by-outcome").value = byId("search").value = "";
    filter();
    byId("dialogues").scrollIntoView();
    if (shown.length && window.innerWidth > 860) go(shown[0]);
  }
  function go(place) {
    show(place);
    location.hash = address(rows[place]);
    if (window.innerWidth <= 860) byId("panes").scrollIntoView();
  }
  function step(by) {
    if (!shown.length) return;
    const at = shown.indexOf(current);
    go(shown[Math.max(0, Math.min(shown.length - 1, at < 0 ? 0 : at + by))]);
  }

  // One dialogue.
  const folded = (title, make) => {
    const node = el("details", null, el("summary", null, title));
    node.addEventListener("toggle", () => { if (node.open && node.children.length === 1) node.append(make()); });
    return node;
  };
  const code = (children) => el("div", { class: "code", tabindex: 0 }, children);
  const json = (value) => () => code(plain(JSON.stringify(value, null, 2)));

  function contentOf(message, needle) {
    const content = message.content;
    if (typeof content === "string") return plain(content, needle);
    if (!Array.isArray(content)) return [el("span", { class: "none" }, content ? JSON.stringify(content) : "no text")];
    return content.flatMap((part) => part && typeof part.text === "string" ? plain(part.text, needle) : el("span", { class: "chip" }, (part && part.type) || "part"));
  }
  function messageNode(message, needle) {
    const kind = ["system", "user", "assistant", "tool"].includes(message.role) ? message.role : "user";
    return el("div", { class: `msg ${kind}` }, el("p", { class: "who" }, el("span", { class: "role" }, message.role)), el("div", { class: "body" }, contentOf(message, needle)));
  }
  function answerNode(turn, prompt, label, needle) {
    const meta = [turn.output_tokens !== undefined && count(turn.output_tokens, "token"), turn.seconds !== undefined && seconds(turn.seconds),
      turn.finish && `ended: ${turn.finish}`].filter(Boolean).join(" · ");
    const findings = (turn.findings || []).map(([rule, message]) => el("div", { class: `finding ${run.rules[rule].severity}` },
      el("b", null, `${rule} ${run.rules[rule].name}`), ": ", plain(message), el("span", { class: "mend" }, run.rules[rule].mend)));
    const raw = turn.raw || "";
    return el("div", { class: `msg answer o-${turn.outcome}` },
      el("p", { class: "who" }, el("b", null, label), el("span", { class: "chip o" }, words(turn.outcome)), el("span", { class: "meta" }, meta)),
      el("div", { class: "body" }, turn.text ? plain(turn.text, needle) : el("span", { class: "none" }, "no answer")),
      turn.error && el("div", { class: "finding error" }, el("b", null, turn.error.type || "error"), ": ", plain(String(turn.error.message || ""))),
      findings,
      (turn.changes || []).map((change) => el("p", { class: "note" }, `The messages were changed: ${change}`)),
      turn.thinking && folded("Thinking", () => code(plain(turn.thinking, needle))),
      raw && folded(raw === turn.text ? "Raw answer: cleaning removed nothing" : "Raw answer, and what cleaning removed", () => code(cleaned(raw, turn.text || ""))),
      prompt !== null && folded(`Exact prompt${turn.input_tokens ? `, ${count(turn.input_tokens, "token")}` : ""}${turn.cached_tokens ? ` (${number(turn.cached_tokens)} cached)` : ""}`, () => code(visible(prompt))),
      (turn.asked || turn.effective) && folded("Parameters", json({ asked: turn.asked || {}, effective: turn.effective || {} })),
      turn.request && folded("Request", json(turn.request)),
      turn.response && folded("Response", json(turn.response)));
  }
  function show(place) {
    const row = rows[place], label = run.models[row.model].label;
    const needle = byId("search").value.trim().toLowerCase();
    const others = rows.map((other, i) => [other, i]).filter(([other]) => other.id === row.id);
    const parts = [el("header", null,
      el("button", { class: "quiet back", type: "button", on: { click: close } }, "← All dialogues"),
      el("h3", null, plain(row.id)), el("span", { class: "chip" }, count(row.turns, "turn")), el("span", { class: "chip" }, `${number(row.tokens)} tokens · ${seconds(row.seconds)}`),
      others.length > 1 && el("p", { class: "others" }, "Same dialogue:", others.slice(0, 40).map(([other, i]) =>
        el("a", { class: "chip", href: address(other), "aria-current": i === place ? "true" : null },
          run.models[other.model].label + (other.sample ? ` · sample ${other.sample}` : "")))))];
    let known = "";
    for (const turn of JSON.parse(lines[place]).turns) {
      if (turn.whole) parts.push(el("p", { class: "note" }, "These messages don't go on from the turn before:"));
      for (const message of turn.messages || []) parts.push(messageNode(message, needle));
      const prompt = turn.prompt ? known.slice(0, turn.prompt[0]) + turn.prompt[1] : null;
      parts.push(answerNode(turn, prompt, label, needle));
      known = (prompt || "") + (turn.raw || "");
    }
    byId("detail").replaceChildren(...parts);
    current = place;
    byId("panes").classList.add("open");
    list.setAttribute("aria-activedescendant", `row-${place}`);
    const position = shown.indexOf(place);
    if (position >= 0 && list.clientHeight && (position * ROW < list.scrollTop || (position + 1) * ROW > list.scrollTop + list.clientHeight))
      list.scrollTop = Math.max(0, position * ROW - list.clientHeight / 3);
    drawList();
  }
  function close() {
    history.replaceState(null, "", location.pathname + location.search);
    byId("panes").classList.remove("open");
    current = -1;
    drawList();
    list.focus({ preventScroll: true });
  }
  function followHash() {
    const place = addresses.get(location.hash);
    if (place !== undefined && place !== current) go(place);
  }

  // What the person does.
  function keys(event) {
    const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") { if (typing) { event.target.blur(); list.focus(); } else close(); return; }
    if (typing) { if (event.key === "Enter") { event.preventDefault(); if (shown.length) go(shown[0]); } return; }
    const inList = event.target === list;
    if (event.key === "/") { event.preventDefault(); byId("search").focus(); }
    else if (event.key === "j" || (inList && event.key === "ArrowDown")) { event.preventDefault(); step(1); }
    else if (event.key === "k" || (inList && event.key === "ArrowUp")) { event.preventDefault(); step(-1); }
    else if (inList && event.key === "Enter" && current >= 0) byId("detail").focus();
  }
  function theme() {
    const root = document.documentElement;
    const kept = (() => { try { return localStorage.getItem("playbill-theme"); } catch { return null; } })();
    root.dataset.theme = kept || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
    byId("theme").addEventListener("click", () => {
      root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
      try { localStorage.setItem("playbill-theme", root.dataset.theme); } catch { /* a file may have no storage */ }
    });
  }
  function fill(id, first, options) {
    byId(id).append(el("option", { value: "" }, first), ...options.map(([value, text]) => el("option", { value }, text)));
    byId(id).addEventListener("change", filter);
  }

  theme();
  const date = (run.created || "").slice(0, 16).replace("T", " ");
  byId("facts").textContent = [count(rows.length, "dialogue"), count(run.models.length, "model"), date && `${date} UTC`,
    run.playbill && `Playbill ${run.playbill}`].filter(Boolean).join(" · ");
  showModels();
  showFindings();
  fill("by-model", "All models", run.models.map((m, i) => [i, m.label]));
  fill("by-outcome", "All outcomes", OUTCOMES.filter((o) => rows.some((r) => r.outcome === o)).map((o) => [o, words(o)]));
  fill("by-finding", "All findings", [...(Object.keys(run.rules).some(SEVERE) ? [["any", "any error"]] : []),
    ...Object.keys(run.rules).sort().map((c) => [c, `${c} ${run.rules[c].name}`])]);
  let waiting = 0;
  byId("search").addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(filter, 120); });
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("clear").addEventListener("click", () => { byId("filters").reset(); filter(); });
  list.addEventListener("scroll", drawList);
  addEventListener("resize", drawList);
  addEventListener("hashchange", followHash);
  addEventListener("keydown", keys);
  byId("detail").append(el("p", { class: "empty" }, "Choose a dialogue to see every message, the exact prompt, and the raw answer."));
  filter();
  if (location.hash.includes("/")) followHash();
  else if (window.innerWidth > 860 && rows.length) show(0);
})();
