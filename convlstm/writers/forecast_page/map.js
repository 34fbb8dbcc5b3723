"use strict";
const content = JSON.parse(document.getElementById("content").textContent);

// Bytes of frames. Each is unpacked once, when it is first needed.
const frames = (() => {
  const known = new Map();
  const unpack = async (text, width) => {
    const packed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
    const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
    // They are changes from row to row, modulo 256.
    for (let i = width; i < bytes.length; i++) bytes[i] += bytes[i - width];
    return bytes;
  };
  return (layer, k) => {
    if (!known.has(layer)) known.set(layer, []);
    const own = known.get(layer);
    own[k] ??= unpack(layer.frames[k], Math.ceil(content.shape[1] / layer.side));
    return own[k];
  };
})();

// Observed frames come first; they are the same for all layers of a field.
const frameAt = (layer, at) => {
  if (at >= content.past) return [layer, at - content.past];
  return [content.layers.find((one) => one.kind === "Observed" && one.field === layer.field), at];
};

const MISSING = 255;

// The value of a layer's bytes at a pixel of the frame; null if it is missing.
const valueAt = (layer, bytes, column, row) => {
  const width = Math.ceil(content.shape[1] / layer.side);
  const code = bytes[Math.floor(row / layer.side) * width + Math.floor(column / layer.side)];
  return code === MISSING ? null : content.palettes[layer.palette].values[code];
};

const spelled = (value, palette) => {
  if (value === null) return "no data";
  const number = palette.decimals === null ? Number(value.toPrecision(2)) : value.toFixed(palette.decimals);
  return palette.unit ? `${number} ${palette.unit}` : `${number}`;
};

// Longitude and latitude of a pixel, from a table of few nodes; null if they are unknown.
const degreesAt = (column, row) => {
  if (!content.lines) return null;
  const [height, width] = content.shape;
  const nodes = Math.sqrt(content.lines.degrees[0].length);
  const x = (column / (width - 1)) * (nodes - 1);
  const y = (row / (height - 1)) * (nodes - 1);
  const left = Math.min(Math.floor(x), nodes - 2);
  const top = Math.min(Math.floor(y), nodes - 2);
  const corners = [[0, 0], [0, 1], [1, 0], [1, 1]];
  const found = content.lines.degrees.map((table) => {
    const first = table[top * nodes + left];
    return corners.reduce((sum, [down, right]) => {
      const value = table[(top + down) * nodes + left + right];
      const near = value === null || first === null ? NaN : value + 360 * Math.round((first - value) / 360);
      return sum + near * (down ? y - top : 1 - (y - top)) * (right ? x - left : 1 - (x - left));
    }, 0);
  });
  if (found.some(Number.isNaN)) return null;
  const lon = ((((found[0] + 180) % 360) + 360) % 360) - 180;
  const written = (value, sides) => `${Math.abs(value).toFixed(2)}°${value < 0 ? sides[1] : sides[0]}`;
  return `${written(found[1], "NS")} ${written(lon, "EW")}`;
};

const map = (() => {
  const [height, width] = content.shape;
  const box = document.getElementById("map");
  const field = document.getElementById("field");
  const drawn = document.getElementById("drawn");
  const marks = { place: null, cursor: null };
  box.style.aspectRatio = `${width} / ${height}`;
  box.style.maxWidth = `calc(85vh * ${width / height})`;

  const style = (name) => getComputedStyle(box).getPropertyValue(name).trim();

  const paint = (layer, bytes) => {
    const palette = content.palettes[layer.palette];
    const ground = style("--dry");
    const table = new Uint32Array(256);
    palette.colours.forEach((colour, k) => {
      const [red, green, blue] = [1, 3, 5].map((at) => parseInt((colour ?? ground).slice(at, at + 2), 16));
      table[k] = ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
    });
    field.width = Math.ceil(width / layer.side);
    field.height = Math.ceil(height / layer.side);
    // The squares at the end may stand out of the frame.
    field.style.width = `${(100 * field.width * layer.side) / width}%`;
    field.style.height = `${(100 * field.height * layer.side) / height}%`;
    const context = field.getContext("2d");
    const image = context.createImageData(field.width, field.height);
    const pixels = new Uint32Array(image.data.buffer);
    for (let i = 0; i < pixels.length; i++) pixels[i] = table[bytes[i]];
    context.putImageData(image, 0, 0);
  };

  const draw = () => {
    const ratio = devicePixelRatio;
    const [wide, high] = [box.clientWidth, box.clientHeight];
    drawn.width = Math.round(wide * ratio);
    drawn.height = Math.round(high * ratio);
    const pen = drawn.getContext("2d");
    pen.scale(ratio, ratio);
    pen.lineJoin = "round";
    pen.font = "11px system-ui, sans-serif";
    const [sx, sy] = [wide / width, high / height];
    const stroke = (parts, colour, thickness, dashes = []) => {
      pen.beginPath();
      for (const part of parts) {
        for (let i = 0; i < part.length; i += 2) {
          pen[i ? "lineTo" : "moveTo"]((part[i] / 10) * sx, (part[i + 1] / 10) * sy);
        }
      }
      pen.setLineDash(dashes);
      pen.strokeStyle = colour;
      pen.lineWidth = thickness;
      pen.stroke();
      pen.setLineDash([]);
    };
    const write = (text, x, y) => {
      pen.lineWidth = 3;
      pen.strokeStyle = style("--halo");
      pen.strokeText(text, x, y);
      pen.fillStyle = style("--coast");
      pen.fillText(text, x, y);
    };
    if (content.lines) {
      const { coast, borders, grid, km } = content.lines;
      for (const line of grid) stroke(line.parts, style("--grid"), 0.8, [2, 4]);
      stroke(coast, style("--halo"), 3);
      stroke(borders, style("--halo"), 2.4);
      stroke(borders, style("--border"), 1, [5, 2]);
      stroke(coast, style("--coast"), 1.2);
      // Labels keep clear of the corners, of which the right one has the scale bar.
      for (const { label, meridian, at } of grid) {
        const [x, y] = [at[0] * sx, at[1] * sy];
        if (meridian && y > high - 14 && x > 30 && x < wide * 0.6) write(label, x + 3, high - 5);
        if (!meridian && x < 14 && y > 20 && y < high - 30) write(label, 4, y - 3);
      }
      const most = 0.3 * width * km;
      const power = 10 ** Math.floor(Math.log10(most));
      const length = [5, 2, 1].map((n) => n * power).find((n) => n <= most);
      const [end, base] = [wide - 12, high - 10];
      const start = end - (length / km) * sx;
      for (const [colour, thickness] of [[style("--halo"), 5], [style("--coast"), 2]]) {
        pen.beginPath();
        pen.moveTo(start, base - 5);
        pen.lineTo(start, base);
        pen.lineTo(end, base);
        pen.lineTo(end, base - 5);
        pen.strokeStyle = colour;
        pen.lineWidth = thickness;
        pen.stroke();
      }
      pen.textAlign = "center";
      write(`${length} km`, (start + end) / 2, base - 7);
      pen.textAlign = "start";
    }
    const cross = ({ column, row }, size, colour) => {
      const [x, y] = [(column + 0.5) * sx, (row + 0.5) * sy];
      for (const [ink, thickness] of [[style("--halo"), 4], [colour, 2]]) {
        pen.beginPath();
        pen.moveTo(x - size, y);
        pen.lineTo(x + size, y);
        pen.moveTo(x, y - size);
        pen.lineTo(x, y + size);
        pen.strokeStyle = ink;
        pen.lineWidth = thickness;
        pen.stroke();
      }
    };
    if (marks.place) cross(marks.place, 9, style("--accent"));
    if (marks.cursor) cross(marks.cursor, 6, style("--coast"));
  };

  // The pixel under a pointer, or null.
  const pixelAt = (event) => {
    const edges = box.getBoundingClientRect();
    const column = Math.floor(((event.clientX - edges.left - box.clientLeft) / box.clientWidth) * width);
    const row = Math.floor(((event.clientY - edges.top - box.clientTop) / box.clientHeight) * height);
    return column >= 0 && row >= 0 && column < width && row < height ? { column, row } : null;
  };

  return { box, marks, paint, draw, pixelAt };
})();
