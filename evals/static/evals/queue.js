"use strict";
// The queue of drafts: single keys press its buttons. Every act is a button too, so the page works without this.
{
  const STORE = "whetstone-queue-keys";
  const keys = document.querySelector("[data-keys]");
  const on = document.querySelector("[data-keys-on]");
  const edit = document.querySelector("[data-edit]");
  let sent = false;

  function isTyping(target) {
    return target instanceof Element && target.closest("input:not([type=checkbox]), textarea, select, [contenteditable]") !== null;
  }

  function remembered() {
    try {
      return localStorage.getItem(STORE) !== "off";
    } catch {
      return true; // no storage: the keys stay on
    }
  }

  function press(element) {
    if (element.disabled) return;
    if (element.tagName === "SUMMARY") {
      edit.open = true;
      const field = edit.querySelector("textarea, input:not([type=hidden]), select");
      if (field) field.focus();
      // What is typed is added to what stands there.
      if (field && field.tagName === "TEXTAREA") field.setSelectionRange(field.value.length, field.value.length);
      return;
    }
    element.click();
  }

  if (keys && on) {
    keys.hidden = false;
    on.checked = remembered();
    on.addEventListener("change", () => {
      try {
        localStorage.setItem(STORE, on.checked ? "on" : "off");
      } catch {
        // It holds for this page only.
      }
    });
  }

  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && isTyping(event.target)) {
      event.target.blur();
      return;
    }
    const label = event.target instanceof Element && event.target.closest("[data-label]");
    if (label && event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      label.requestSubmit();
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.isComposing) return;
    if (isTyping(event.target) || (on && !on.checked)) return;
    const wanted = [...document.querySelectorAll("[data-key]")].find((one) => one.dataset.key === event.key);
    if (!wanted) return;
    event.preventDefault();
    press(wanted);
  });

  // A second press before the next page is there must not decide the draft that nobody has seen.
  document.addEventListener("submit", (event) => {
    if (sent) event.preventDefault();
    sent = true;
  });
  addEventListener("pageshow", () => { sent = false; });

  const title = document.getElementById("queue-case");
  if (title && !(edit && edit.open)) title.focus({ preventScroll: true });
}
