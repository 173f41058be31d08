// Prepares tables of words for phones (holdfast.css): each cell but the first of a row gets its column's heading.
// Tables of figures, which are aligned to the right, are left as they are.
document.addEventListener("DOMContentLoaded", () => {
  for (const table of document.querySelectorAll("table.docutils")) {
    if (table.querySelector("td.text-right")) continue;
    const headings = [...table.querySelectorAll("thead th")].map((heading) => heading.textContent.trim());
    table.classList.add("of-words");
    for (const row of table.querySelectorAll("tbody tr")) {
      [...row.children].forEach((cell, column) => {
        if (column > 0 && headings[column] && cell.textContent.trim()) cell.dataset.heading = headings[column];
      });
    }
  }
});
