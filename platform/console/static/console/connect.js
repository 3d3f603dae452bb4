"use strict";
// The page of connecting an agent: looks for what has come, and puts a button beside each snippet that copies it.
{
  const QUICK_MS = 2000;
  const SLOW_MS = 15000;
  const QUICK_FOR_MS = 15 * 60 * 1000;
  const opened = Date.now();

  function watch(region) {
    let last = null;

    async function look() {
      try {
        const answer = await fetch(region.dataset.poll, { headers: { Accept: "application/json" } });
        if (answer.status === 401 || answer.status === 403 || answer.status === 404) return false;
        const told = answer.ok ? await answer.text() : last;
        if (told !== last) {
          // The part is written by the server, which escapes what agents said; scripts in it would not run anyway.
          const part = await fetch(region.dataset.part);
          if (part.ok && !part.redirected) {
            region.replaceChildren(...new DOMParser().parseFromString(await part.text(), "text/html").body.childNodes);
            last = told;
          }
        }
      } catch {
        // The server is away; the next look may find it.
      }
      return true;
    }

    async function again() {
      if (!document.hidden && !(await look())) return;
      setTimeout(again, Date.now() - opened < QUICK_FOR_MS ? QUICK_MS : SLOW_MS);
    }
    setTimeout(again, QUICK_MS);
  }

  function offerCopy(text) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "desk-button desk-copy";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(text.textContent);
        button.textContent = "Copied";
      } catch {
        // Without HTTPS browsers hand out no clipboard: select it, so that one key press copies.
        getSelection().selectAllChildren(text);
        button.textContent = "Selected";
      }
      setTimeout(() => { button.textContent = "Copy"; }, 2000);
    });
    text.previousElementSibling.append(button);
  }

  for (const region of document.querySelectorAll("[data-arrivals]")) watch(region);
  for (const text of document.querySelectorAll("[data-copy]")) offerCopy(text);
}
