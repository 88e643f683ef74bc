"use strict";

// Figures come as server-sent events. Pictures are streams for the first regions in view and single pictures for the
// others: a browser opens six connections to a server at most.

const STREAMS = 3;
const STEP_MS = 2000;
// Time without any picture after which a stream begins anew.
const PATIENCE_MS = 5000;
const HISTORY = 120;

const token = new URLSearchParams(location.search).get("token");
const cards = new Map();
const main = document.getElementById("cards");
const statusLine = document.getElementById("status");

function address(path, query = {}) {
  const parameters = new URLSearchParams(query);
  if (token) parameters.set("token", token);
  return parameters.size ? `${path}?${parameters}` : path;
}

function bytes(number) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (number >= 1024 && unit + 1 < units.length) {
    number /= 1024;
    unit += 1;
  }
  return `${unit ? number.toFixed(1) : Math.round(number)} ${units[unit]}`;
}

function time(ns) {
  if (ns === null) return "–";
  const s = ns / 1e9;
  if (s < 1e-3) return `${(s * 1e6).toFixed(0)} µs`;
  if (s < 1) return `${(s * 1e3).toFixed(1)} ms`;
  if (s < 120) return `${s.toFixed(1)} s`;
  return s < 7200 ? `${(s / 60).toFixed(0)} min` : `${(s / 3600).toFixed(0)} h`;
}

// Names may have bytes that are no text.
function plain(region) {
  try {
    return decodeURIComponent(region);
  } catch {
    return region;
  }
}

const count = (number) => number.toLocaleString("en");

class Card {
  constructor(region) {
    const fragment = document.getElementById("card").content.cloneNode(true);
    this.root = fragment.querySelector("article");
    this.root.dataset.region = region;
    this.region = region;
    this.ages = [];
    this.inView = false;
    this.source = "none";
    this.image = this.find("img");
    this.image.alt = `picture of ${region}`;
    this.find("h2").textContent = plain(region).replace(/^shm:\/\/(\/dev\/shm\/)?/, "");
    this.find("h2").title = region;
    this.image.addEventListener("load", () => {
      this.isWaiting = false;
      this.root.dataset.pictureWidth = this.image.naturalWidth;
      this.root.dataset.pictureHeight = this.image.naturalHeight;
      this.image.hidden = false;
      this.find(".no-picture").hidden = true;
    });
    this.image.addEventListener("error", () => this.noPicture("no picture now"));
    this.find("button").addEventListener("click", () => this.copy());
  }

  find(selector) {
    return this.root.querySelector(selector);
  }

  figure(name, text, isBad = false) {
    const cell = this.find(`[data-figure="${name}"]`);
    cell.textContent = text;
    cell.classList.toggle("bad", isBad);
  }

  noPicture(text) {
    this.image.hidden = true;
    this.find(".no-picture").hidden = false;
    this.find(".no-picture").textContent = text;
  }

  update({ state, rates, media, pictures, launch }) {
    const dropped = state.dropped_oldest + state.dropped_newest + state.dropped_too_large;
    // The stream of a generation ends with it.
    if (state.generation !== this.generation) this.show("none");
    this.generation = state.generation;
    this.pictures = pictures;
    this.root.dataset.pictures = pictures;
    if (!pictures) this.noPicture(media === null ? "no caps yet" : "no picture: neither raw video nor JPEG");
    else if (this.image.hidden && this.source === "none") this.noPicture("…");
    this.find(".media").textContent = media ?? "no caps";
    this.figure("rate", rates.frames === null ? "–" : `${rates.frames.toFixed(1)}/s`);
    this.figure("data", rates.bytes === null ? "–" : `${bytes(rates.bytes)}/s`);
    this.figure("age", time(state.age_ns), state.age_ns > 2e9);
    this.figure("consumers", count(state.consumers.length));
    const more = rates.dropped > 0 ? ` (${rates.dropped.toFixed(1)}/s)` : "";
    this.figure("dropped", count(dropped) + more, rates.dropped > 0);
    this.figure("frame", state.frame_bytes === null ? "–" : bytes(state.frame_bytes));
    this.find(".launch code").textContent = launch;
    this.spark(state.age_ns);
    this.details(state);
  }

  spark(age) {
    this.ages.push(age);
    if (this.ages.length > HISTORY) this.ages.shift();
    const known = this.ages.filter((value) => value !== null);
    const most = Math.max(...known, 1);
    const x = (index) => HISTORY - this.ages.length + index;
    const y = (value) => (22 - (20 * value) / most).toFixed(2);
    const points = this.ages.map((value, index) => (value === null ? null : `${x(index)} ${y(value)}`))
      .filter((point) => point !== null);
    const line = points.length > 1 ? `M${points.join("L")}` : "";
    this.find(".line").setAttribute("d", line);
    const first = x(this.ages.findIndex((value) => value !== null));
    this.find(".area").setAttribute("d", line && `${line}L${x(this.ages.length - 1)} 24L${first} 24Z`);
    this.find("figcaption").textContent = known.length ? `age, at most ${time(most)} here` : "age is not known";
  }

  details(state) {
    const created = new Date(state.created_ns / 1e6).toISOString().replace("T", " ").slice(0, 19);
    const rows = {
      region: state.region,
      caps: state.caps ?? "–",
      producer: `process ${state.producer_pid}, since ${created} UTC${state.kept ? ", kept region" : ""}`,
      size: `${bytes(state.bytes)}, arena ${bytes(state.arena_bytes)}`,
      policy: state.full_policy ?? "–",
      sequences: `${count(state.oldest)} to ${count(state.newest)}`,
      dropped: `oldest ${count(state.dropped_oldest)}, newest ${count(state.dropped_newest)}, ` +
        `too large ${count(state.dropped_too_large)}`,
    };
    const list = this.find(".more");
    Object.entries(rows).forEach(([name, text], index) => {
      let row = list.children[index];
      if (!row) {
        row = list.appendChild(document.createElement("div"));
        row.appendChild(document.createElement("dt")).textContent = name;
        row.appendChild(document.createElement("dd"));
      }
      row.lastChild.textContent = text;
    });
    const table = this.find("table");
    table.hidden = state.consumers.length === 0;
    const lines = state.consumers.map((consumer) => {
      const line = document.createElement("tr");
      const lag = consumer.next === null ? "ended" : consumer.lag;
      for (const value of [consumer.page, consumer.pid, lag, consumer.held, consumer.received, consumer.missed]) {
        line.appendChild(document.createElement("td")).textContent = value;
      }
      return line;
    });
    table.tBodies[0].replaceChildren(...lines);
  }

  async copy() {
    const code = this.find(".launch code");
    const button = this.find("button");
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "copied";
    } catch {
      getSelection().selectAllChildren(code);
      button.textContent = "selected";
    }
    setTimeout(() => (button.textContent = "copy"), 1500);
  }

  // "stream", "still" or "none".
  show(source) {
    const isLate = source === "stream" && this.isWaiting && Date.now() - this.begun > PATIENCE_MS;
    if (source === this.source && !isLate) return;
    this.source = source;
    this.isWaiting = true;
    this.begun = Date.now();
    if (source === "stream") this.image.src = address("preview", { region: this.region, at: this.begun });
    // Without a source the browser ends the stream.
    else this.image.removeAttribute("src");
    if (source === "still") this.still();
  }

  still() {
    this.image.src = address("picture", { region: this.region, at: Date.now() });
  }

  remove() {
    this.show("none");
    view.unobserve(this.root);
    this.root.remove();
  }
}

const view = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    const card = cards.get(entry.target.dataset.region);
    if (card) card.inView = entry.isIntersecting;
  }
  choose();
}, { rootMargin: "100px" });

function choose() {
  let streams = 0;
  for (const card of cards.values()) {
    if (!card.pictures || !card.inView || document.hidden) card.show("none");
    else card.show(streams++ < STREAMS ? "stream" : "still");
  }
}

// One after another, so that they use one connection.
async function stills() {
  for (const card of [...cards.values()].filter((card) => card.source === "still" && card.image.complete)) {
    card.still();
    await new Promise((done) => {
      card.image.addEventListener("load", done, { once: true });
      card.image.addEventListener("error", done, { once: true });
      setTimeout(done, STEP_MS);
    });
  }
  setTimeout(stills, STEP_MS);
}

function update(list) {
  const names = new Set(list.map((card) => card.state.region));
  for (const [name, card] of cards) {
    if (names.has(name)) continue;
    card.remove();
    cards.delete(name);
  }
  for (const [index, item] of list.entries()) {
    let card = cards.get(item.state.region);
    if (!card) {
      card = new Card(item.state.region);
      cards.set(item.state.region, card);
      main.insertBefore(card.root, main.children[index] ?? null);
      view.observe(card.root);
    }
    card.update(item);
  }
  document.getElementById("empty").hidden = list.length > 0;
  statusLine.dataset.state = "live";
  statusLine.textContent = `${list.length} region${list.length === 1 ? "" : "s"}`;
  choose();
}

const events = new EventSource(address("api/events"));
events.onmessage = (event) => update(JSON.parse(event.data));
events.onerror = () => {
  statusLine.dataset.state = "lost";
  statusLine.textContent = "no connection to shm2 serve";
};
document.addEventListener("visibilitychange", choose);
for (const [id, path] of [["metrics", "metrics"], ["regions", "api/regions"]]) {
  document.getElementById(id).href = address(path);
}
stills();
