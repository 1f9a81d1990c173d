// Sorting: a header cell's button sorts by its column; a second press turns the order round. What has no value is last.

const sortKey = (cell) => {
  const text = cell.dataset.value;
  if (text === undefined) return null;
  return cell.classList.contains("numeric") ? Number(text) : text;
};

const compareKeys = (first, second) =>
  typeof first === "number" ? first - second : first.localeCompare(second, undefined, { numeric: true });

const sortTable = (table, column, direction) => {
  const body = table.tBodies[0];
  const keyed = Array.from(body.rows, (row) => ({ row, key: sortKey(row.cells[column]) }));
  const factor = direction === "ascending" ? 1 : -1;
  keyed.sort((first, second) => {
    if (first.key === null || second.key === null) return (first.key === null) - (second.key === null);
    return factor * compareKeys(first.key, second.key);
  });
  body.append(...keyed.map((entry) => entry.row));
  Array.from(table.tHead.rows[0].cells).forEach((cell, position) =>
    cell.setAttribute("aria-sort", position === column ? direction : "none"),
  );
};

const makeSortable = (table) => {
  Array.from(table.tHead.rows[0].cells).forEach((cell, column) => {
    cell.querySelector("button").addEventListener("click", () => {
      const now = cell.getAttribute("aria-sort");
      const first = cell.classList.contains("numeric") ? "descending" : "ascending";
      const other = first === "descending" ? "ascending" : "descending";
      sortTable(table, column, now === first ? other : first);
    });
  });
};

// rows: arrays of {text, value, symbol, note}; written as text, never as markup.
const fillTable = (table, rows) => {
  const numeric = Array.from(table.tHead.rows[0].cells, (cell) => cell.classList.contains("numeric"));
  table.tBodies[0].replaceChildren(
    ...rows.map((cells) => {
      const row = document.createElement("tr");
      cells.forEach((content, position) => {
        const cell = document.createElement(position === 0 ? "th" : "td");
        if (position === 0) cell.scope = "row";
        if (numeric[position]) cell.className = "numeric";
        if (content.value !== null && content.value !== undefined) cell.dataset.value = content.value;
        if (content.symbol) {
          const mark = document.createElement("span");
          mark.className = `symbol ${content.symbol}`;
          mark.setAttribute("aria-hidden", "true");
          mark.textContent = VERDICTS[content.symbol]?.symbol ?? "·";
          cell.append(mark, " ");
        }
        cell.append(content.text);
        if (content.note) {
          const note = document.createElement("small");
          note.textContent = content.note;
          cell.append(note);
        }
        row.append(cell);
      });
      return row;
    }),
  );
  const sorted = Array.from(table.tHead.rows[0].cells).findIndex((cell) => cell.getAttribute("aria-sort") !== "none");
  if (sorted >= 0) sortTable(table, sorted, table.tHead.rows[0].cells[sorted].getAttribute("aria-sort"));
};
