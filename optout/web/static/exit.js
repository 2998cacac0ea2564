// "Exit this page": leaves for a harmless one at once, by the button or by Escape or Shift three times.
"use strict";

const leave = document.getElementById("leave");
const said = document.getElementById("leave-status");
const WITHIN_MS = 5_000;
let presses = [];
let left = false;

const exit = () => {
  if (left) return;
  left = true;
  // What was on the page is gone before the other one comes, which may take seconds. The entry in the history becomes
  // that of the other page; earlier ones stay, which no page can change.
  document.title = "…";
  document.body.replaceChildren();
  location.replace(leave.href);
};

leave.addEventListener("click", (event) => { event.preventDefault(); exit(); });

addEventListener("keydown", (event) => {
  if (event.repeat || !["Escape", "Shift"].includes(event.key)) {
    if (!event.repeat) presses = [];
    return;
  }
  const now = event.timeStamp;
  presses = [...presses.filter((press) => press.key === event.key && now - press.at < WITHIN_MS), { key: event.key, at: now }];
  said.textContent = presses.length === 1 ? said.dataset.twice : said.dataset.once;
  if (presses.length === 3) exit();
});

// A page that comes back from the browser's memory is empty still: load what belongs there.
addEventListener("pageshow", (event) => { if (event.persisted && left) location.reload(); });
