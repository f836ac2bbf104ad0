"use strict";
// The page talks to its own server alone, over one WebSocket: a message is a line of JSON, and a file behind it.

const $ = (selector, within = document) => within.querySelector(selector);
const $$ = (selector, within = document) => [...within.querySelectorAll(selector)];
const waiting = new Map();  // Answers that are awaited, by number.
const jobs = {};  // What is called with the news of long work, by its kind.
let web, about, number = 0;

// Talking.

function connect() {
  web = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/play`);
  web.binaryType = "arraybuffer";
  web.onmessage = (event) => {
    const bytes = new Uint8Array(event.data), end = bytes.indexOf(10);
    const header = JSON.parse(new TextDecoder().decode(bytes.subarray(0, end)));
    header.blob = bytes.length > end + 1 ? new Blob([bytes.subarray(end + 1)]) : null;
    if (header.job) return jobs[header.job]?.(header);
    waiting.get(header.id)?.(header);
    waiting.delete(header.id);
  };
  web.onopen = () => hello();
  web.onclose = () => {
    say("The page's server has ended: start jaxgan play again, then load this page again.");
    $$("main button, main input, main select").forEach((control) => { control.disabled = true; });
  };
}

async function ask(message, file = null) {
  if (web.readyState !== WebSocket.OPEN) throw new Refused("the server has ended");
  const id = ++number, head = new TextEncoder().encode(JSON.stringify({ id, ...message }) + "\n");
  const reply = new Promise((resolve) => waiting.set(id, resolve));
  web.send(file ? new Blob([head, file]) : head);
  const header = await reply;
  if (header.error) { say(header.error); throw new Refused(header.error); }
  return header;
}

class Refused extends Error {}
addEventListener("unhandledrejection", (event) => { if (event.reason instanceof Refused) event.preventDefault(); });

function say(text) {
  $("#error span").textContent = text;
  $("#error").hidden = !text;
}
$("#error button").onclick = () => say("");

async function hello(password) {
  about = await ask({ do: "hello", password });
  $("#password").hidden = !about.password;
  if (about.password) {
    if (about.password === "wrong") say("This is not the password.");
    return $("#password input").focus();
  }
  say("");
  begin();
}
$("#password").onsubmit = (event) => { event.preventDefault(); hello($("#password input").value); };

// Showing.

/** Puts a picture in place of the one before once it is decoded, so that nothing flickers, and forgets that one. */
async function show(image, blob) {
  const url = URL.createObjectURL(blob), fresh = new Image();
  fresh.src = url;
  await fresh.decode();
  const before = image.src;
  image.src = url;
  image.hidden = false;
  if (before.startsWith("blob:")) URL.revokeObjectURL(before);
}

/** Below a result: the command that makes it, and buttons for it. */
function caption(figure, { command = "", name, blob }) {
  const place = $("figcaption", figure);
  if (!place.firstChild) {
    place.innerHTML = '<code></code><button class="copy">Copy</button><button class="save">Download</button>';
    $(".copy", place).onclick = async () => {
      await navigator.clipboard?.writeText($("code", place).textContent).catch(() => {});
      getSelection().selectAllChildren($("code", place));
    };
  }
  $("code", place).textContent = command;
  $(".copy", place).hidden = !command;
  $(".save", place).hidden = !blob;
  $(".save", place).onclick = () => save(blob, name);
}

function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

/** Does some work again whenever it is called, but never twice at once: of many calls meanwhile, only the last counts. */
function latest(draw) {
  let busy = false, wanted = false, since = null;
  return async (event) => {
    wanted = true;
    since ??= event?.timeStamp ?? performance.now();
    if (busy) return;
    busy = true;
    try {
      while (wanted) {
        const begun = since;
        wanted = false;
        since = null;
        await draw();
        document.dispatchEvent(new CustomEvent("shown", { detail: performance.now() - begun }));  // For benchmarks.
      }
    } finally { busy = false; since = null; }
  };
}

/** Reads the options of a tab that have a value other than the usual one. */
function options(section, ...names) {
  return Object.fromEntries(names.map((name) => {
    const control = $(`[name=${name}]`, section);
    if (control.type === "checkbox") return [name, control.checked];
    if (control.dataset.usual === control.value) return [name, null];
    if (control.hasAttribute("data-power")) return [name, Number((10 ** control.value).toPrecision(2))];
    if (control.dataset.off === control.value || control.value === "") return [name, null];
    return [name, Number(control.value)];
  }));
}

function outputs(section) {
  for (const label of $$("label.slider", section)) {
    const control = $("input[type=range]", label), output = $("output", label);
    if (!output || control.name === "look") continue;
    const value = control.hasAttribute("data-power") ? (10 ** control.value).toPrecision(2) * 1 : control.value;
    output.textContent = control.dataset.off === control.value ? "none" : control.name === "crossover" ? `${value} of ${about.styles}` : value;
  }
}

/** Seeds by number and by slider; values beside sliders; `moved` at every change. */
function wire(section, moved) {
  section.addEventListener("input", (event) => {
    const { name, value, dataset } = event.target;
    const other = dataset.for ? $(`[name="${dataset.for}"]`, section) : name && $(`[data-for="${name}"]`, section);
    if (other) other.value = value;
    outputs(section);
    if (event.target.type !== "file") moved(event);
  });
  outputs(section);
}

function seed(section, value) {
  const control = $("[name=seed]", section);
  control.value = Math.min(Math.max(0, value), 4294967295);
  control.dispatchEvent(new Event("input", { bubbles: true }));
}

function act(section, acts) {
  section.addEventListener("click", (event) => {
    const button = event.target.closest("[data-act]");
    if (button) acts[button.dataset.act]?.(button);
  });
}

/** Shows how long work goes, with a button that stops it; calls `on` with every picture on the way, and the end. */
function job(kind, place, on) {
  place.innerHTML = "<progress></progress><span></span><button>Stop</button>";
  const stop = $("button", place);
  stop.onclick = () => { stop.disabled = true; ask({ do: "stop" }); };
  jobs[kind] = (news) => {
    if (place.hidden && !news.end) {
      place.hidden = false;
      place.scrollIntoView({ block: "nearest" });  // On a phone it is far below its button.
    }
    place.hidden = Boolean(news.end);
    if (news.end) stop.disabled = false;
    const bar = $("progress", place);
    if (news.total) { bar.max = news.total; bar.value = news.done; } else bar.removeAttribute("value");
    const left = news.left == null ? "" : `, ${news.left < 90 ? `${Math.ceil(news.left)} s` : `${Math.round(news.left / 60)} min`} left`;
    $("span", place).textContent = news.total ? `${news.done}/${news.total}  ${news.text}${left}` : news.text ?? "";
    if (news.error) say(news.error);
    on(news);
  };
}

/** Asks for long work, whose button waits until it has ended. */
async function work(button, message) {
  say("");
  button.disabled = true;
  try { return await ask(message); } catch (refused) { button.disabled = false; throw refused; }
}

/** A place to drop files on. */
function drop(label, take) {
  const taken = async (files) => { for (const file of files) await take(file); };
  $("input", label).onchange = async (event) => { await taken([...event.target.files]).finally(() => { event.target.value = ""; }); };
  label.ondragover = (event) => { event.preventDefault(); label.classList.add("over"); };
  label.ondragleave = () => label.classList.remove("over");
  label.ondrop = (event) => { event.preventDefault(); label.classList.remove("over"); taken([...event.dataTransfer.files]); };
}

async function upload(place, file) {
  if (file.size > about.limit) { say(`${file.name}: more than ${about.limit / 2 ** 20} MiB`); throw new Refused(); }
  say("");
  return ask({ do: "upload", place, name: file.name }, file);
}

// The tabs.

function generate(section) {
  const figure = $(".shown", section), image = $("img", figure), grid = $("[name=grid]", section);
  let first, columns = 1;
  const draw = latest(async () => {
    const { seed: at, ...rest } = options(section, "seed", "truncation", "label"), count = Number(grid.value);
    const reply = await ask({ do: "sample", options: { seeds: count > 1 ? `${at}-${at + count - 1}` : `${at}`, ...rest } });
    await show(image, reply.blob);
    [first, columns] = [at, reply.columns ?? 1];
    image.alt = count > 1 ? `Samples of seeds ${at} to ${at + count - 1}` : `Sample of seed ${at}`;
    caption(figure, reply);
  });
  const go = (by) => seed(section, Number($("[name=seed]", section).value) + by);
  wire(section, draw);
  act(section, {
    previous: () => go(-1), next: () => go(1), random: () => seed(section, Math.floor(Math.random() * 1e6)),
    reset: () => { reset(section); seed(section, 0); },
  });
  image.onclick = (event) => {
    const count = Number(grid.value), rows = Math.ceil(count / columns);
    const scale = Math.min(image.clientWidth / image.naturalWidth, image.clientHeight / image.naturalHeight);
    const [x, y] = [["offsetX", "clientWidth", "naturalWidth", columns], ["offsetY", "clientHeight", "naturalHeight", rows]].map(
      ([at, room, size, cells]) => Math.floor((event[at] - (image[room] - scale * image[size]) / 2) / (scale * image[size] / cells)));
    if (x < 0 || y < 0 || x >= columns || y * columns + x >= count) return;
    grid.value = count > 1 ? "1" : "16";
    seed(section, first + y * columns + x);
  };
  addEventListener("keydown", (event) => {
    if (section.hidden || event.target.matches("input, select")) return;
    const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -grid.value, ArrowDown: Number(grid.value) }[event.key];
    if (by) { event.preventDefault(); go(by); }
  });
  draw();
}

function reset(section) {
  for (const control of $$("input, select", section)) {
    if (control.tagName === "SELECT") control.selectedIndex = Math.max(0, $$("option", control).findIndex((option) => option.defaultSelected));
    else control.value = control.defaultValue;
  }
  outputs(section);
}

function directions(section) {
  const figure = $(".shown", section), image = $("img", figure), place = $(".amounts", section), film = $(".film", section);
  let from = null, last = null;
  for (let index = 1; index <= about.directions; index++) {
    place.insertAdjacentHTML("beforeend", `<label class="slider">${index} <output></output><input type="range" min="-5" max="5" step="0.1" value="0" aria-label="Direction ${index}"></label>`);
  }
  const amounts = () => $$("input", place);
  const draw = latest(async () => {
    const base = from ? { kept: from } : options(section, "seed", "truncation", "label");
    const reply = await ask({ do: "move", ...base, amounts: amounts().map((control) => Number(control.value)) });
    await show(image, reply.blob);
    last = reply.blob;
    caption(figure, reply);
  });
  const start = (name) => {
    from = name;
    $(".from", section).hidden = !name;
    $(".from strong", section).textContent = name?.replace(".npz", "") ?? "";
    amounts().forEach((control) => { control.value = 0; });
    outputs(section);
    return draw();
  };
  const keep = (name, blob) => {
    const item = document.createElement("li");
    item.innerHTML = '<img alt=""><span></span><div><button title="Download the latent">↓</button><button title="Forget it">✕</button></div>';
    $("span", item).textContent = name.replace(".npz", "");
    item.dataset.name = name;
    const picture = $("img", item), [file, forget] = $$("button", item);
    picture.alt = `Move ${name}`;
    show(picture, blob);
    picture.onclick = () => start(name);
    file.onclick = async () => save((await ask({ do: "file", kept: name })).blob, name);
    forget.onclick = async () => {
      await ask({ do: "forget", kept: name });
      URL.revokeObjectURL(picture.src);
      item.remove();
      if (from === name) start(null);
    };
    $(".kept ul", section).append(item);
  };
  wire(section, (event) => {
    if (event.target.name === "frames") return;
    if (from && event.target.closest(".slider, .classes") && !event.target.closest(".amounts")) start(null); else draw(event);
  });
  act(section, {
    seed: () => start(null),
    zero: () => { amounts().forEach((control) => { control.value = 0; }); outputs(section); draw(); },
    random: () => { amounts().forEach((control) => { control.value = (Math.random() * 6 - 3).toFixed(1); }); outputs(section); draw(); },
    keep: async () => { const { kept } = await ask({ do: "keep" }); keep(kept, last); },
    walk: async () => {
      const kept = $$(".kept li", section).map((item) => item.dataset.name);
      await ask({ do: "walk", kept, options: options(section, "frames") });
    },
  });
  drop($(".drop", section), async (file) => { const { kept, blob } = await upload("latent", file); keep(kept, blob); });
  job("walk", $(".job", section), async (news) => {
    if (news.end !== "done") return;
    const moving = news.name.endsWith(".mp4");
    const blob = new Blob([news.blob], { type: moving ? "video/mp4" : "image/webp" }), screen = document.createElement(moving ? "video" : "img");
    Object.assign(screen, moving ? { autoplay: true, loop: true, muted: true, controls: true, playsInline: true } : { alt: "The walk" });
    const before = $("video, img", film);
    if (before) { URL.revokeObjectURL(before.src); before.remove(); }
    screen.src = URL.createObjectURL(blob);
    film.prepend(screen);
    film.hidden = false;
    caption(film, { ...news, blob });
  });
  draw();
  return { keep, start };
}

function mix(section) {
  const figure = $(".shown", section), crossover = $("[name=crossover]", section);
  crossover.max = about.styles;
  crossover.value = crossover.defaultValue = Math.max(1, Math.floor(about.styles / 3));
  const draw = latest(async () => {
    const given = options(section, "crossover", "seed", "truncation", "label");
    const reply = await ask({ do: "mix", options: { rows: 3, columns: 4, ...given } });
    await show($("img", figure), reply.blob);
    caption(figure, reply);
  });
  wire(section, draw);
  draw();
}

function project(section) {
  const figure = $(".shown", section), after = $(".after", section), start = $("[data-act=start]", section);
  let kept = null;
  wire(section, () => {});
  drop($(".drop", section), async (file) => {
    const { blob } = await upload("target", file);
    await show($(".drop img", section), blob);
  });
  job("project", $(".job", section), async (news) => {
    start.disabled = !news.end;
    if (news.blob) await show($("img", figure), news.blob);
    if (!news.end) return;
    after.hidden = news.end !== "done";
    if (news.end !== "done") return;
    kept = news.kept;
    caption(figure, { ...news, name: kept.replace(".npz", ".png") });
    tabs.directions?.keep(kept, news.blob);
  });
  act(section, {
    start: () => {
      after.hidden = true;
      return work(start, { do: "project", options: options(section, "steps", "plus", "label") });
    },
    along: () => { open("directions"); tabs.directions?.start(kept); },
    file: async () => save((await ask({ do: "file", kept })).blob, kept),
  });
}

function train(section) {
  const chooser = $("[name=run]", section), slider = $("[name=look]", section), figure = $(".samples", section);
  let steps = [], state = null, playing = null;
  const sheet = latest(async () => {
    if (!steps.length) return;
    const step = steps[slider.value];
    const reply = await ask({ do: "look", run: chooser.value, step });
    await show($("img", figure), reply.blob);
    $("output", slider.parentElement).textContent = step;
    caption(figure, { name: `step${step}.png`, blob: reply.blob });
  });
  const watch = latest(async () => {
    const run = chooser.value, news = await ask({ do: "watch", run, have: state });
    if (run !== chooser.value) return;
    const age = !news.state[0] ? "" : news.age < 30 ? ", training" : `, last line ${news.age < 5400 ? `${Math.round(news.age / 60)} min` : `${Math.round(news.age / 3600)} h`} ago`;
    if (news.steps) {
      const atEnd = Number(slider.value) === Number(slider.max);
      ({ steps, state } = news);
      section.dataset.step = news.step;
      section.dataset.of = news.of;
      $(".words", section).textContent = news.words;
      $(".losses", section).hidden = !news.blob;
      if (news.blob) await show($(".losses img", section), news.blob);
      slider.max = Math.max(0, steps.length - 1);
      slider.disabled = steps.length < 2;
      if (atEnd) { slider.value = slider.max; sheet(); }
      figure.hidden = !steps.length;
    }
    $(".stands", section).textContent = `Step ${section.dataset.step} of ${section.dataset.of}${age}`;
  });
  const list = async () => {
    const { runs, first } = await ask({ do: "runs" }), chosen = chooser.value;
    if (runs.join("\n") === $$("option", chooser).map((option) => option.value).join("\n")) return;
    chooser.replaceChildren(...runs.map((run) => new Option(run, run)));
    chooser.value = runs.includes(chosen) ? chosen : first;
    if (chooser.value !== chosen) { state = null; slider.value = slider.max; watch(); }
  };
  chooser.onchange = () => { state = null; steps = []; slider.value = slider.max; watch(); };
  slider.oninput = sheet;
  act(section, {
    play: (button) => {
      clearInterval(playing);
      button.textContent = playing ? "Play" : "Pause";
      playing = playing ? null : setInterval(() => { slider.value = (Number(slider.value) + 1) % steps.length; sheet(); }, 300);
    },
  });
  list();
  setInterval(async () => { if (!section.hidden && !document.hidden && web.readyState === 1) { await list(); if (chooser.value) watch(); } }, 2000);
}

function style(section) {
  const figure = $(".shown", section), given = $(".styles-given", section), start = $("[data-act=start]", section);
  wire(section, () => {});
  const free = () => [1, 2, 3, 4, 5, 6, 7, 8, 9].find((index) => !$(`[data-place="style ${index}"]`, given));
  const add = (place, { name, blob }) => {
    const item = document.createElement("li");
    item.dataset.place = place;
    item.innerHTML = '<img alt=""><label class="slider"><span></span><output></output><input type="range" min="0" max="1" step="0.05" value="1"></label><button title="Take it out">✕</button>';
    $("span", item).textContent = name;
    show($("img", item), blob);
    $("button", item).onclick = async () => { await ask({ do: "remove", place }); URL.revokeObjectURL($("img", item).src); item.remove(); };
    given.append(item);
    given.append(...$$("li", given).sort((a, b) => a.dataset.place.localeCompare(b.dataset.place)));
    outputs(section);
  };
  const content = async ({ blob }) => show($("[data-place=content] img", section), blob);
  drop($("[data-place=content]", section), async (file) => content(await upload("content", file)));
  drop($("label[data-place=style]", section), async (file) => { const place = `style ${free()}`; add(place, await upload(place, file)); });
  let command = "";
  job("style", $(".job", section), async (news) => {
    start.disabled = !news.end;
    if (news.blob) { await show($("img", figure), news.blob); caption(figure, { command: news.end === "stopped" ? "" : command, name: "stylized.png", blob: news.blob }); }
  });
  act(section, {
    demo: async () => { say(""); await content(await ask({ do: "demo", place: "content" })); const place = `style ${free()}`; add(place, await ask({ do: "demo", place })); },
    start: async () => {
      const blend = $$("li input", given).map((control) => Number(control.value));
      const wanted = options(section, "style-weight", "content-weight", "size", "steps");
      ({ command } = await work(start, { do: "style", options: { ...wanted, blend: new Set(blend).size > 1 ? blend : null } }));
    },
  });
}

// Beginning.

const tabs = { generate, directions, mix, project, train, style };

function open(name) {
  say("");
  for (const button of $$("nav button")) button.setAttribute("aria-selected", button.dataset.tab === name);
  for (const section of $$("main > section")) section.hidden = section.id !== name;
  const section = $(`#${name}`);
  if (!(name in about.why) && typeof tabs[name] === "function") tabs[name] = tabs[name](section) ?? null;
  history.replaceState(null, "", `#${name}`);
}

function begin() {
  $("#run").textContent = about.step == null ? about.run : `${about.run}, step ${about.step}`;
  for (const control of $$("[name=truncation]")) {
    const [least, most, off] = about.styles ? [0.1, 1.5, 1] : [0.1, 3, 3];
    Object.assign(control, { min: least, max: most, step: about.styles ? 0.05 : 0.1 });
    control.defaultValue = control.value = control.dataset.off = String(off);
  }
  for (const select of $$("[name=label]")) for (let index = 0; index < about.classes; index++) select.add(new Option(index, index));
  $$(".classes").forEach((label) => { label.hidden = !about.classes; });
  $$(".styles").forEach((label) => { label.hidden = !about.styles; });
  for (const [name, why] of Object.entries(about.why)) {
    $(`#${name}`).innerHTML = '<p class="why"></p>';
    $(`#${name} .why`).textContent = why;
    $(`nav [data-tab=${name}]`).classList.add("empty");
  }
  for (const button of $$("nav button")) button.onclick = () => open(button.dataset.tab);
  const wanted = location.hash.slice(1);
  if (!("directions" in about.why)) tabs.directions = directions($("#directions"));  // Projections are kept there.
  open(wanted in tabs ? wanted : Object.keys(tabs).find((name) => !(name in about.why)));
}

connect();
