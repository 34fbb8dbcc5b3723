"use strict";
(() => {
  const store = document.getElementById("pictures");
  if (!store) return;
  const pictures = JSON.parse(store.textContent);
  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  // Milliseconds for which a frame is shown. The last one is shown four times as long.
  const step = () => (calm.matches ? 1000 : 300);

  for (const film of document.querySelectorAll(".film")) {
    const { first, labels, panels, scores } = JSON.parse(film.querySelector(".film-data").textContent);
    const images = film.querySelectorAll("img");
    const captions = film.querySelectorAll(".score");
    const button = film.querySelector("button");
    const slider = film.querySelector("input");
    const output = film.querySelector("output");
    const sequence = film.dataset.sequence;
    let timer = null;

    const show = (at) => {
      images.forEach((image, k) => {
        image.src = "data:image/png;base64," + pictures[panels[k].frames[at]];
        image.alt = `${panels[k].name}, sequence ${sequence}: ${labels[at]}`;
        captions[k].textContent = at < first || !scores[k] ? "" : scores[k][at - first];
      });
      slider.value = at;
      slider.setAttribute("aria-valuetext", labels[at]);
      output.textContent = labels[at];
      film.classList.toggle("ahead", at >= first);
    };

    const tick = () => {
      const at = (Number(slider.value) + 1) % labels.length;
      show(at);
      timer = setTimeout(tick, at === labels.length - 1 ? 4 * step() : step());
    };

    const play = (on) => {
      clearTimeout(timer);
      timer = on ? setTimeout(tick, step()) : null;
      button.textContent = on ? "Pause" : "Play";
      button.setAttribute("aria-label", `${button.textContent} sequence ${sequence}`);
    };

    button.addEventListener("click", () => play(timer === null));
    slider.addEventListener("input", () => {
      play(false);
      show(Number(slider.value));
    });
    film.querySelector(".controls").hidden = false;
  }
})();
