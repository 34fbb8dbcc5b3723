"use strict";
// Charts and the table of the values at one place.
const series = (() => {
  const NS = "http://www.w3.org/2000/svg";
  const HIGH = 190;
  const EDGE = { left: 40, right: 18, top: 8, bottom: 24 };

  const svg = (tag, attributes, text) => {
    const one = document.createElementNS(NS, tag);
    for (const [name, value] of Object.entries(attributes)) one.setAttribute(name, value);
    if (text !== undefined) one.textContent = text;
    return one;
  };

  const html = (tag, attributes = {}, ...children) => {
    const one = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) one.setAttribute(name, value);
    one.append(...children);
    return one;
  };

  // Round steps between a lowest and a highest value.
  const ticks = (low, high, most) => {
    const rough = (high - low) / most;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough);
    const first = Math.ceil(low / step - 1e-9);
    const last = Math.floor(high / step + 1e-9);
    return Array.from({ length: last - first + 1 }, (_, k) => Number(((first + k) * step).toPrecision(12)));
  };

  // A chart of lines and bands, arrays with a value or null for each frame.
  const chart = ({ title, note, labels, lines, bands, range, at }, wide) => {
    const all = [...lines.map((line) => line.values), ...bands.flatMap((band) => [band.low, band.high])];
    const known = all.flat().filter((value) => value !== null);
    let [low, high] = range ?? [Math.min(...known), Math.max(...known)];
    if (!known.length || low === high) [low, high] = [low === Infinity ? 0 : low, (low === Infinity ? 0 : low) + 1];
    const count = labels.length;
    const x = (k) => EDGE.left + ((wide - EDGE.left - EDGE.right) * k) / Math.max(count - 1, 1);
    const y = (value) => HIGH - EDGE.bottom - ((HIGH - EDGE.top - EDGE.bottom) * (value - low)) / (high - low);
    const drawing = svg("svg", { viewBox: `0 0 ${wide} ${HIGH}`, class: "chart", role: "img", "aria-label": title });
    for (const value of ticks(low, high, 4)) {
      drawing.append(svg("path", { class: "rule", d: `M${EDGE.left} ${y(value)}H${wide - EDGE.right}` }));
      drawing.append(svg("text", { class: "end", x: EDGE.left - 5, y: y(value) + 4 }, value));
    }
    const every = Math.max(1, Math.ceil(count / Math.max(2, Math.floor((wide - EDGE.left) / 52))));
    labels.forEach((label, k) => {
      if (k % every === 0) drawing.append(svg("text", { class: "mid", x: x(k), y: HIGH - 7 }, label));
    });
    const shownAt = svg("path", { class: "mark over", d: `M${x(at)} ${EDGE.top}V${HIGH - EDGE.bottom}` });
    for (const band of bands) {
      const ends = band.low.flatMap((value, k) => (value === null ? [] : [k]));
      if (!ends.length) continue;
      const path = [...ends.map((k) => [k, band.high[k]]), ...ends.reverse().map((k) => [k, band.low[k]])];
      const d = `M${path.map(([k, value]) => `${x(k)} ${y(value)}`).join("L")}Z`;
      drawing.append(svg("path", { class: `band ${band.shade}`, d }));
    }
    for (const line of lines) {
      let d = "";
      line.values.forEach((value, k) => {
        if (value !== null) d += `${d && line.values[k - 1] !== null ? "L" : "M"}${x(k)} ${y(value)}`;
      });
      drawing.append(svg("path", { class: `line ${line.style}`, d }));
      if (!line.dots) continue;
      line.values.forEach((value, k) => {
        if (value !== null) drawing.append(svg("circle", { class: `dot ${line.style}`, cx: x(k), cy: y(value), r: 2.5 }));
      });
    }
    drawing.append(shownAt);
    const caption = html("figcaption", {}, html("strong", {}, title), html("span", {}, note));
    const legend = html("ul", { class: "legend" });
    for (const { name, style, shade } of [...lines, ...bands]) {
      const sample = svg("svg", { width: 22, height: 10, "aria-hidden": "true" });
      if (style) sample.append(svg("path", { class: `line ${style}`, d: "M0 5H22" }));
      else sample.append(svg("rect", { class: `band ${shade}`, width: 22, height: 10 }));
      legend.append(html("li", {}, sample, name));
    }
    const figure = html("figure", { class: "plot" }, caption, drawing, legend);
    const move = (k) => shownAt.setAttribute("d", `M${x(k)} ${EDGE.top}V${HIGH - EDGE.bottom}`);
    return { figure, move };
  };

  const table = (caption, heads, rows) => {
    const cells = (tag, values) => values.map((value, k) => html(k ? tag : "th", { scope: k ? "col" : "row" }, value));
    const head = html("thead", {}, html("tr", {}, ...heads.map((name) => html("th", { scope: "col" }, name))));
    const body = html("tbody", {}, ...rows.map((row) => html("tr", {}, ...cells("td", row))));
    const whole = html("table", { class: "numbers" }, html("caption", {}, html("span", {}, caption)), head, body);
    return html("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": caption }, whole);
  };

  return { chart, table };
})();
