"use strict";

const form = document.querySelector(".filter");
const ENTRY = ".claim, figure, .choices > div, tbody > tr";

// What can be hidden, in groups that vanish with their last entry. Claims hide as a whole, with their comparisons.
const groups = [...document.querySelectorAll(".group")].map((group) => ({
  group,
  entries: [...group.querySelectorAll(ENTRY)]
    .filter((element) => !element.parentElement.closest(".claim"))
    .map((element) => ({ element, text: null })),
}));

function fits(entry, group, words, verdict) {
  if (verdict && entry.element.dataset.verdict !== verdict) return false;
  if (!words.length) return true;
  entry.text ??= ((group.dataset.text ?? "") + " " + entry.element.textContent).toLowerCase();
  return words.every((word) => entry.text.includes(word));
}

function filter() {
  const words = form.text.value.toLowerCase().split(/\s+/).filter(Boolean);
  const verdict = form.verdict.value;
  const active = Boolean(words.length || verdict);
  let shown = 0;
  let total = 0;
  for (const { group, entries } of groups) {
    let visible = 0;
    for (const entry of entries) {
      const fit = fits(entry, group, words, verdict);
      entry.element.hidden = !fit;
      visible += fit;
    }
    group.hidden = active && visible === 0;
    shown += visible;
    total += entries.length;
  }
  for (const section of document.querySelectorAll("main > section:not(.group)")) {
    section.hidden = active && !section.querySelector(".group:not([hidden])");
  }
  form.querySelector("output").textContent = active ? shown + " of " + total + " entries" : "";
}

function sort(header) {
  const table = header.closest("table");
  const column = [...header.parentNode.children].indexOf(header);
  const sign = header.getAttribute("aria-sort") === "ascending" ? -1 : 1;
  const numeric = header.classList.contains("number");
  const key = (row) => {
    const cell = row.children[column];
    const text = cell.dataset.value ?? cell.textContent.trim();
    return numeric ? (text === "" ? NaN : Number(text.replace("inf", "Infinity"))) : text;
  };
  const compare = (a, b) => {
    if (!numeric) return sign * a.localeCompare(b, undefined, { numeric: true });
    // Unknown numbers stay at the end either way.
    if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b);
    return a === b ? 0 : sign * (a < b ? -1 : 1);
  };
  const rows = [...table.tBodies[0].rows].map((row) => [key(row), row]);
  rows.sort((a, b) => compare(a[0], b[0]));
  for (const other of header.parentNode.children) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", sign === 1 ? "ascending" : "descending");
  table.tBodies[0].append(...rows.map((pair) => pair[1]));
}

form.addEventListener("input", filter);
form.addEventListener("submit", (event) => event.preventDefault());
for (const header of document.querySelectorAll(".sortable th")) {
  header.querySelector("button").addEventListener("click", () => sort(header));
}
filter();
