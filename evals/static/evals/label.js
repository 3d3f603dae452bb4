"use strict";
// The page of labeling: one key gives a grade. Keys typed into the note, or with a modifier, are nobody's grade.
{
  const form = document.querySelector("[data-label]");

  function isTyping(target) {
    return target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName));
  }

  form?.closest("body").addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || isTyping(event.target)) return;
    const button = [...form.querySelectorAll("[data-key]")].find((one) => one.dataset.key === event.key.toLowerCase());
    if (!button || form.dataset.sent) return;
    event.preventDefault();
    button.click();
  });

  // A second key before the answer has come would label the same item again, and be refused.
  form?.addEventListener("submit", (event) => {
    if (form.dataset.sent) event.preventDefault();
    form.dataset.sent = "yes";
  });
}
