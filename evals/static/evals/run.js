"use strict";
// The page of a run: puts the newest progress in place while the run is played, then shows the verdict.
{
  const EVERY_MS = 2000;
  const AWAY_MS = 15000;

  function watch(region) {
    async function look() {
      if (document.hidden) return EVERY_MS;
      try {
        const answer = await fetch(region.dataset.runProgress, { headers: { Accept: "text/html" } });
        if (answer.redirected || [401, 403, 404].includes(answer.status)) return 0;
        if (!answer.ok) return AWAY_MS;
        // The part is written by the server, which escapes what agents said; scripts in it would not run anyway.
        const part = new DOMParser().parseFromString(await answer.text(), "text/html").body;
        region.replaceChildren(...part.childNodes);
      } catch {
        // The server is away; the next look may find it.
        return AWAY_MS;
      }
      if (region.querySelector("[data-run-live=no]")) {
        location.reload();
        return 0;
      }
      return EVERY_MS;
    }

    async function again() {
      const pause = await look();
      if (pause) setTimeout(again, pause);
    }
    setTimeout(again, EVERY_MS);
  }

  // The admin loads its scripts in the head, before there is anything to watch.
  document.addEventListener("DOMContentLoaded", () => {
    for (const region of document.querySelectorAll("[data-run-progress]")) watch(region);
  });
}
