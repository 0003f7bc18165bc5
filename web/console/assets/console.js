// Makes the console's pages live. Every page works without it.
"use strict";

const root = document.documentElement;
const $ = (id) => document.getElementById(id);
const numbers = new Intl.NumberFormat(root.lang, { useGrouping: "min2" });
root.classList.add("js");

// The matrix

const table = $("matrix");
const cells = new Map(); // "109500969/eau" -> td
for (const td of table ? table.querySelectorAll("td[data-c]") : []) cells.set(td.dataset.c, td);

function copy(id) {
  return $(id).content.cloneNode(true);
}

function draw(td, x) {
  const box = td.firstElementChild, inside = box.querySelector(".inside");
  if (!inside) return;
  const parts = [copy("face-" + x.s)];
  if (x.t) parts.push(copy("extra-t"));
  if (x.p) parts.push(copy("extra-p"));
  if (x.n) {
    const n = copy("extra-n");
    n.querySelector("b").textContent = numbers.format(x.n);
    parts.push(n);
  }
  inside.replaceChildren(...parts);
  box.className = "cell " + x.s + (x.t ? " is-trouble" : "") + (x.p ? " is-proposed" : "");
}

function judge(row) {
  row.classList.toggle("abnormal", row.querySelector(".cell.hold, .cell.read-only, .cell.closed, .cell.is-trouble, .cell.is-proposed") !== null);
}

function show(some, all) {
  const rows = new Set();
  const set = (key, x) => {
    const td = cells.get(key);
    if (!td) return;
    draw(td, x);
    rows.add(td.parentElement);
  };
  if (all) for (const key of cells.keys()) set(key, some[key] || { s: "open" });
  else for (const key in some) set(key, some[key]);
  rows.forEach(judge);
  // A row that has become abnormal appears; none disappears or moves under the operator's hand.
  if (rows.size && filter) sieve(false);
}

// The filter

const filter = $("filter");

function sieve(mayHide) {
  const words = $("q").value.toLowerCase().split(/\s+/).filter(Boolean), only = filter.elements.only.checked;
  let hidden = 0;
  for (const row of table.tBodies[0].rows) {
    const text = row.dataset.text.toLowerCase();
    const away = (only && !row.classList.contains("abnormal")) || !words.every((w) => text.includes(w));
    if (!away || mayHide) row.hidden = away;
    if (row.hidden) hidden++;
  }
  const note = $("hidden");
  if (note) {
    note.hidden = hidden === 0;
    note.textContent = hidden === 1 ? note.dataset.one : note.dataset.many.replace("#", numbers.format(hidden));
  }
}

if (filter) {
  const changed = () => {
    sieve(true);
    const q = new URLSearchParams(new FormData(filter));
    if (!q.get("q")) q.delete("q");
    if (q.get("sort") === "abnormal") q.delete("sort");
    history.replaceState(null, "", q.size ? "/?" + q : "/");
  };
  filter.addEventListener("submit", (e) => { e.preventDefault(); changed(); });
  $("q").addEventListener("input", changed);
  filter.elements.only.addEventListener("change", changed);
  filter.elements.sort.addEventListener("change", () => { changed(); location.reload(); });
}

for (const a of document.querySelectorAll("a[data-reload]")) {
  a.addEventListener("click", (e) => { e.preventDefault(); location.reload(); });
}

// Arrow keys in the matrix; one cell at a time is a tab stop.

if (table) {
  const stop = (td) => td && td.querySelector("a.cell, .cell input");
  let current = stop(table.querySelector("td"));
  const all = [...table.querySelectorAll("a.cell, .cell input")];
  for (const x of all) x.tabIndex = x === current ? 0 : -1;
  table.addEventListener("focusin", (e) => {
    if (!all.includes(e.target)) return;
    current.tabIndex = -1;
    current = e.target;
    current.tabIndex = 0;
  });
  table.addEventListener("keydown", (e) => {
    const td = e.target.closest("td");
    if (!td || e.ctrlKey || e.altKey || e.metaKey || e.shiftKey) return;
    const rows = [...table.tBodies[0].rows].filter((r) => !r.hidden);
    let y = rows.indexOf(td.parentElement), x = td.cellIndex;
    switch (e.key) {
      case "ArrowUp": y--; break;
      case "ArrowDown": y++; break;
      case "ArrowLeft": x--; break;
      case "ArrowRight": x++; break;
      case "Home": x = 1; break;
      case "End": x = td.parentElement.cells.length - 1; break;
      default: return;
    }
    const next = rows[y] && x > 0 && stop(rows[y].cells[x]);
    e.preventDefault();
    if (next) next.focus();
  });
  for (const hint of document.querySelectorAll(".keys")) hint.hidden = false;
}

// Marking whole rows and columns

const marked = $("marked");

if (marked) {
  const boxes = () => [...table.querySelectorAll("input[name=c]")];
  const count = () => {
    const n = boxes().filter((b) => b.checked).length;
    marked.textContent = n === 0 ? marked.dataset.none : n === 1 ? marked.dataset.one : marked.dataset.many.replace("#", numbers.format(n));
    for (const b of marked.parentElement.querySelectorAll("button[name=to]")) b.disabled = n === 0;
  };
  table.addEventListener("change", (e) => {
    const { name, value, checked } = e.target;
    for (const b of boxes()) {
      const [ik, service] = b.value.split("/");
      if ((name === "i" && ik === value) || (name === "s" && service === value)) b.checked = checked;
      // A row or column whose cell was taken out is no longer whole.
      if (name === "c" && !checked && b === e.target) {
        for (const whole of table.querySelectorAll(`input[name=i][value="${ik}"], input[name=s][value="${service}"]`)) whole.checked = false;
      }
    }
    count();
  });
  count();
}

// Events

const live = $("live");
const door = document.querySelector("[data-door]");
const proposals = document.querySelector("[data-proposals]");
const title = document.title;
let source, last = 0, broken = false, over = false, clock = "";

function take(e, all) {
  const f = JSON.parse(e.data);
  last = Date.now();
  broken = false;
  clock = f.at;
  if (table) show(f.cells || {}, all);
  for (const id in f.parts || {}) {
    const part = $(id);
    // Nothing is replaced under the keyboard's focus; the next change will do it.
    if (part && !part.contains(document.activeElement)) part.innerHTML = f.parts[id];
  }
  const badge = $("props");
  badge.hidden = !f.props;
  badge.textContent = numbers.format(f.props);
  if (table) document.title = (f.sum ? "(" + numbers.format(f.sum) + ") " : "") + title;
  if (f.moved) $("say").textContent = f.moved.map((m) => m.say).join(" ").trim();
  if (door) watchDoor(f, all);
  if (proposals && (f.moved || f.props !== Number(proposals.dataset.proposals))) $("changed").hidden = false;
  tell();
}

function watchDoor(f, all) {
  const x = (f.cells || {})[door.dataset.door] || (all ? { s: "open" } : null);
  if (!x) return;
  $("queue").textContent = numbers.format(x.n || 0);
  if (x.s !== door.dataset.state || Boolean(x.p) !== (door.dataset.proposed === "true")) $("changed").hidden = false;
}

function tell() {
  const old = over || Date.now() - last > (broken ? 4000 : 20000);
  live.hidden = last === 0;
  live.classList.toggle("old", old);
  live.textContent = (old ? live.dataset.stale : live.dataset.live).replace("#", clock);
  const banner = $("stale"), words = banner.querySelector("span");
  banner.hidden = !old || last === 0;
  words.textContent = (over ? words.dataset.bye : words.dataset.stale).replace("#", clock);
  root.classList.toggle("is-stale", !banner.hidden);
}

function connect() {
  if (source || over || document.hidden) return;
  source = new EventSource("/events");
  source.addEventListener("snapshot", (e) => take(e, true));
  source.addEventListener("diff", (e) => take(e, false));
  source.addEventListener("session", (e) => {
    const { ends } = JSON.parse(e.data), words = $("session").querySelector("span");
    $("session").hidden = !ends;
    if (ends) words.textContent = words.dataset.ends.replace("#", ends);
  });
  source.addEventListener("bye", () => {
    over = true;
    $("session").hidden = true;
    shut();
    tell();
  });
  source.onerror = () => {
    broken = true;
    if (source && source.readyState === EventSource.CLOSED) {
      shut();
      setTimeout(connect, 3000 + 3000 * Math.random()); // not all viewers at the same moment
    }
  };
}

function shut() {
  if (source) source.close();
  source = undefined;
}

if (live) {
  // Browsers allow six connections to a server without HTTP/2: a page that nobody sees gives its own back.
  document.addEventListener("visibilitychange", () => (document.hidden ? shut() : connect()));
  addEventListener("pagehide", shut);
  addEventListener("pageshow", connect);
  setInterval(() => { if (!document.hidden) tell(); }, 1000);
  connect();
}
