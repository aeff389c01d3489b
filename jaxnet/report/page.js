"use strict";
const table = document.querySelector("table");
const heads = [...table.tHead.rows[0].cells];
const rows = [...table.tBodies[0].rows];
const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });
const key = (row, index) => row.cells[index].dataset.value ?? "";
// Numbers before words, and what has no figure always last.
function compare(a, b, index, sign) {
  const [x, y] = [key(a, index), key(b, index)];
  if (x === "" || y === "") return (x === "") - (y === "");
  return sign * (index ? x - y : collator.compare(x, y));
}
heads.forEach((head, index) => {
  const button = document.createElement("button");
  button.type = "button";
  button.append(...head.childNodes);
  head.append(button);
  head.setAttribute("aria-sort", "none");
  button.addEventListener("click", () => {
    const ascending = head.getAttribute("aria-sort") !== "ascending";
    heads.forEach((each) => each.setAttribute("aria-sort", "none"));
    head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    const sign = ascending ? 1 : -1;
    table.tBodies[0].append(...rows.sort((a, b) => compare(a, b, index, sign)));
  });
});

// Search and filter: by name, and by the verdict in one of the columns that have verdicts.
const controls = document.createElement("div");
controls.className = "controls";
controls.innerHTML = `<label>Search <input type="search"></label>
  <label>Show <select><option value="">all</option></select></label>
  <label>in <select></select></label> <output></output>
  <span>More columns to the right: scroll</span>`;
const box = table.parentElement;
const parts = controls.querySelectorAll("input, select, output, span");
const [search, verdict, column, count, beside] = parts;
const words = new Set([...table.querySelectorAll("[data-word]")].map((cell) => cell.dataset.word));
verdict.append(...[...words].map((word) => new Option(word)));
heads.forEach((head, index) => {
  if (head.classList.contains("word")) column.append(new Option(head.textContent, index));
});
column.parentElement.hidden = column.length < 2;
function filter() {
  const name = search.value.trim().toLowerCase();
  for (const row of rows) {
    const shown = ["", row.cells[column.value].dataset.word].includes(verdict.value);
    row.hidden = !(shown && row.cells[0].textContent.toLowerCase().includes(name));
  }
  count.textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} shown`;
  beside.hidden = box.scrollWidth <= box.clientWidth;
}
controls.addEventListener("input", filter);
addEventListener("resize", filter);
box.before(controls);
filter();
