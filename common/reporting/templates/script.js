"use strict";

const form = document.querySelector(".filter");
const items = [...document.querySelectorAll(".item")].map((section) => ({
  section,
  rows: [...section.querySelectorAll("tbody tr")].map((row) => ({
    row,
    text: (section.dataset.text + " " + row.textContent).toLowerCase(),
  })),
}));

function filter() {
  const words = form.text.value.toLowerCase().split(/\s+/).filter(Boolean);
  const verdict = form.verdict.value;
  let shown = 0;
  let total = 0;
  for (const item of items) {
    let visible = 0;
    for (const entry of item.rows) {
      const fits = (!verdict || entry.row.dataset.verdict === verdict) && words.every((word) => entry.text.includes(word));
      entry.row.hidden = !fits;
      visible += fits;
    }
    item.section.hidden = visible === 0;
    shown += visible;
    total += item.rows.length;
  }
  form.querySelector("output").textContent = shown + " of " + total + " numbers";
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
