"use strict";
(() => {
  const get = (id) => document.getElementById(id);
  const { layers, palettes, times, past } = content;
  const [height, width] = content.shape;
  const [slider, button, select, moment, value] = ["time", "play", "layer", "moment", "value"].map(get);
  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  const step = () => (calm.matches ? 1000 : 300);
  const state = { layer: Number(select.value), at: past, timer: null, charts: [] };
  let serial = 0;
  let shown = null;

  // Times.
  const span = (minutes) => {
    const size = Math.abs(minutes);
    if (size < 180) return `${Math.round(minutes)} min`;
    if (size < 2880) return `${Number((minutes / 60).toFixed(1))} h`;
    return `${Number((minutes / 1440).toFixed(size < 14400 ? 1 : 0))} days`;
  };
  const utc = (text) => text.slice(0, 16).replace("T", " ");
  // The time on the reader's clock, unless that has UTC.
  const here = (text) => {
    const time = new Date(text);
    if (time.getTimezoneOffset() === 0) return "";
    return ` (${time.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hourCycle: "h23" })} here)`;
  };
  const named = (k) => {
    const { lead, time } = times[k];
    const ahead = k >= past;
    const parts = [ahead ? "forecast" : "observed"];
    if (lead !== null) parts.push(`${lead > 0 ? "+" : ""}${span(lead)}`);
    else parts.push(`frame ${k - past + 1}`);
    if (time !== null) parts.push(`${utc(time)} UTC${here(time)}`);
    return parts.join(", ");
  };
  const short = (k) => {
    const { lead, time } = times[k];
    const daily = content.step !== null && content.step >= 720;
    if (time !== null) return daily ? time.slice(5, 10) : time.slice(11, 16);
    return lead === null ? `${k - past + 1}` : `${lead}`;
  };

  const tellAge = () => {
    if (content.issued === null) {
      get("age").textContent = "The time of the newest frame is unknown.";
      return;
    }
    const age = (Date.now() - new Date(content.issued)) / 60000;
    const ago = age < 0 ? `${span(-age)} ahead of this device's clock` : `${span(age)} ago`;
    get("age").textContent = `Newest frame ${utc(content.issued)} UTC${here(content.issued)}, ${ago}`;
    const last = times[times.length - 1].time;
    let text = "";
    if (age < -1) text = "The newest frame is in the future: check the clocks and the time zone of the frames.";
    else if (last !== null && new Date(last) < Date.now()) {
      text = `This forecast is over: its last frame was that of ${utc(last)} UTC. Look for a newer one.`;
    } else if (content.step !== null && age > 3 * content.step) {
      text = `This forecast is old: its newest frame is ${span(age)} old, and frames come every ${span(content.step)}.`;
    }
    const warning = get("warning");
    if (warning.textContent !== text) warning.textContent = text;
    warning.hidden = !text;
  };

  // The map.
  const tell = () => {
    const at = map.marks.cursor ?? map.marks.place;
    if (!shown || !at) {
      value.textContent = "";
      return;
    }
    const written = spelled(valueAt(shown.layer, shown.bytes, at.column, at.row), palettes[shown.layer.palette]);
    const degrees = degreesAt(at.column, at.row) ?? `column ${at.column}, row ${at.row}`;
    value.textContent = `${written} at ${degrees}`;
  };

  const keyOf = (palette) => {
    const key = get("key");
    key.replaceChildren(Object.assign(document.createElement("span"), { textContent: palette.label }));
    const add = (colour, text) => {
      const item = document.createElement("li");
      const swatch = Object.assign(document.createElement("span"), { className: "swatch" });
      if (colour) swatch.style.background = colour;
      else swatch.classList.add("hatched");
      item.append(swatch, text);
      list.append(item);
    };
    const list = document.createElement("ul");
    for (const [colour, text] of palette.classes) add(colour, text);
    if (!palette.classes.length) {
      const ramp = Object.assign(document.createElement("span"), { className: "ramp" });
      ramp.style.background = `linear-gradient(90deg, ${palette.colours.filter((_, k) => k % 5 === 0).join(", ")})`;
      const [low, high] = [palette.values[0], palette.values[palette.values.length - 1]];
      const item = document.createElement("li");
      item.append(spelled(low, palette), ramp, spelled(high, palette));
      list.append(item);
    }
    add(null, "no data");
    key.append(list);
  };

  const show = async () => {
    const mine = ++serial;
    const [layer, k] = frameAt(layers[state.layer], state.at);
    slider.value = state.at;
    const label = named(state.at);
    slider.setAttribute("aria-valuetext", label);
    moment.textContent = label;
    map.box.classList.toggle("ahead", state.at >= past);
    for (const chart of state.charts) chart.move(state.at);
    const bytes = await frames(layer, k);
    if (mine !== serial) return;
    if (shown?.layer !== layer) keyOf(palettes[layer.palette]);
    shown = { layer, bytes };
    map.paint(layer, bytes);
    tell();
    document.documentElement.dataset.shown = `${state.layer},${state.at}`;
  };

  // The chosen place.
  const valuesAt = async (layer, { column, row }) => {
    const all = await Promise.all(layer.frames.map((_, k) => frames(layer, k)));
    const own = all.map((bytes) => valueAt(layer, bytes, column, row));
    const empty = (count) => Array(count).fill(null);
    return layer.kind === "Observed" ? [...own, ...empty(times.length - past)] : [...empty(past), ...own];
  };

  const tellPlace = async () => {
    const at = map.marks.place;
    if (!at) return;
    const { field } = layers[state.layer];
    const own = layers.filter((layer) => layer.field === field && layer.kind !== "Members");
    const rows = await Promise.all(own.map((layer) => valuesAt(layer, at)));
    if (at !== map.marks.place) return;
    const of = (kind) => own.flatMap((layer, n) => (layer.kind === kind ? [{ layer, values: rows[n] }] : []));
    const [forecast, ...others] = of("Forecast");
    const palette = palettes[forecast.layer.palette];
    const quantiles = of("Quantiles").sort((a, b) => a.layer.share - b.layer.share);
    const bands = [];
    for (let k = 0; k < Math.floor(quantiles.length / 2); k++) {
      const [low, high] = [quantiles[k], quantiles[quantiles.length - 1 - k]];
      const name = `${100 * low.layer.share} to ${100 * high.layer.share} % of the members`;
      bands.push({ name, shade: k ? "inner" : "outer", low: low.values, high: high.values });
    }
    const lines = of("Observed").map(({ values }) => ({ name: "observed", style: "truth", values, dots: true }));
    lines.push({ name: forecast.layer.title, style: "c0", values: forecast.values, dots: false });
    const seen = [...lines.map((line) => line.values), ...bands.map((band) => band.high)].flat();
    const degrees = degreesAt(at.column, at.row);
    const words = `${degrees ? `${degrees}, ` : ""}column ${at.column}, row ${at.row}`;
    document.documentElement.dataset.place = `${at.column},${at.row}`;
    const empty = seen.every((one) => one === null);
    get("place").textContent = empty ? `No data at ${words}.` : words;
    get("numbers").parentElement.hidden = empty;
    get("series").hidden = empty;
    state.charts = [];
    if (empty) return;
    const range = palette.classes.length ? [0, Math.max(1, ...seen.filter((one) => one !== null))] : null;
    const labels = times.map((_, k) => short(k));
    const unit = times[0].time === null ? "" : "Times are UTC.";
    const wide = Math.max(260, Math.min(620, get("at-place").clientWidth - 24));
    const plots = [{ title: palette.label, note: unit, labels, lines, bands, range, at: state.at }];
    const chances = of("Probability");
    if (chances.length) {
      const styled = chances.map(({ layer, values }, n) => ({ name: layer.title, style: `c${n % 6}`, values, dots: true }));
      plots.push({ title: "probability (%)", note: unit, labels, lines: styled, bands: [], range: [0, 100], at: state.at });
    }
    state.charts = plots.map((plot) => series.chart(plot, wide));
    get("series").replaceChildren(...state.charts.map((chart) => chart.figure));
    const columns = [...of("Observed"), forecast, ...others, ...quantiles, ...of("Spread"), ...chances];
    const heads = ["time", ...columns.map(({ layer }) => layer.title)];
    const cell = ({ layer, values }, k) => (values[k] === null ? "" : spelled(values[k], palettes[layer.palette]));
    const body = times.map((_, k) => [named(k), ...columns.map((column) => cell(column, k))]);
    get("numbers").replaceChildren(series.table(`Values at ${words}`, heads, body));
  };

  const remember = () => {
    const at = map.marks.place;
    const words = [state.layer, ...(at ? [at.column, at.row] : [])].join(",");
    history.replaceState(null, "", `#${words}`);
  };
  const choose = (at) => {
    map.marks.place = at;
    map.draw();
    tell();
    remember();
    tellPlace();
  };
  const point = (at) => {
    map.marks.cursor = at;
    map.draw();
    tell();
  };

  // What the reader does.
  const play = (on) => {
    clearTimeout(state.timer);
    state.timer = on ? setTimeout(tick, step()) : null;
    button.textContent = on ? "Pause" : "Play";
  };
  const tick = () => {
    state.at = (state.at + 1) % times.length;
    show();
    state.timer = setTimeout(tick, state.at === times.length - 1 ? 4 * step() : step());
  };
  button.addEventListener("click", () => play(state.timer === null));
  slider.addEventListener("input", () => {
    play(false);
    state.at = Number(slider.value);
    show();
  });
  select.addEventListener("change", () => {
    const { field } = layers[state.layer];
    state.layer = Number(select.value);
    show();
    remember();
    if (layers[state.layer].field !== field) tellPlace();
  });
  map.box.addEventListener("pointermove", (event) => {
    if (event.pointerType === "mouse") point(map.pixelAt(event));
  });
  map.box.addEventListener("pointerleave", () => point(null));
  map.box.addEventListener("click", (event) => {
    const at = map.pixelAt(event);
    if (at) choose(at);
  });
  const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  map.box.addEventListener("keydown", (event) => {
    const middle = { column: Math.floor(width / 2), row: Math.floor(height / 2) };
    const at = map.marks.cursor ?? map.marks.place ?? middle;
    if (event.key in moves && !event.ctrlKey && !event.altKey && !event.metaKey) {
      const [right, down] = moves[event.key].map((one) => one * (event.shiftKey ? 10 : 1));
      const inside = (one, size) => Math.max(0, Math.min(size - 1, one));
      point({ column: inside(at.column + right, width), row: inside(at.row + down, height) });
    } else if (event.key === "Enter" || event.key === " ") choose(at);
    else if (event.key === "Escape") point(null);
    else return;
    event.preventDefault();
  });

  slider.max = times.length - 1;
  const [layer, column, row] = location.hash.slice(1).split(",").map(Number);
  if (layers[layer] && [...select.options].some((option) => Number(option.value) === layer)) {
    state.layer = layer;
    select.value = layer;
  }
  const within = (one, size) => Number.isInteger(one) && one >= 0 && one < size;
  if (within(column, width) && within(row, height)) map.marks.place = { column, row };

  tellAge();
  setInterval(tellAge, 10000);
  new ResizeObserver(() => {
    map.draw();
    tellPlace();
  }).observe(map.box);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    show();
    map.draw();
  });
  show().then(async () => {
    document.documentElement.dataset.ready = "first";
    const own = layers.filter((one) => one.kind !== "Members");
    for (const one of [layers[state.layer], ...own]) await Promise.all(one.frames.map((_, k) => frames(one, k)));
    document.documentElement.dataset.ready = "all";
  });
})();
