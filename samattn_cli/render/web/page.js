"use strict";
(() => {
  const said = document.getElementById("said");
  const say = (text) => { said.textContent = text; };
  const button = (text, run) => {
    const made = document.createElement("button");
    made.type = "button";
    made.textContent = text;
    made.addEventListener("click", () => run(made));
    return made;
  };

  // -- figures with every digit ---------------------------------------------------------------------------------
  const figures = [...document.querySelectorAll("data[title]")];
  for (const figure of figures) figure.dataset.short = figure.textContent;
  if (figures.length) {
    const every = button("Show every digit", () => {
      const exact = document.body.classList.toggle("exact");
      every.setAttribute("aria-pressed", exact);
      for (const figure of figures) figure.textContent = exact ? figure.title : figure.dataset.short;
    });
    every.setAttribute("aria-pressed", "false");
    document.getElementById("tools").append(every);
  }

  // -- copying --------------------------------------------------------------------------------------------------
  const copy = async (text, what) => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = document.createElement("textarea");
      area.value = text;
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    say(`${what} copied`);
  };
  const plain = (cell) => {
    const figure = cell.querySelector("data");
    return (figure ? figure.value : cell.dataset.name ?? cell.textContent).replace(/\s+/g, " ").trim();
  };
  const heading = (cell) => {
    const name = cell.dataset.name ?? cell.textContent;
    return cell.dataset.unit ? `${name} (${cell.dataset.unit})` : name;
  };
  const text = (table) => [...table.rows].map((row) => [...row.cells]
    .filter((cell) => !cell.classList.contains("bar"))
    .map((cell) => (row.parentElement.tagName === "THEAD" ? heading(cell) : plain(cell))).join("\t")).join("\n");
  const copied = (made, run) => button("Copy", async (self) => {
    await run();
    self.textContent = "Copied";
    setTimeout(() => { self.textContent = "Copy"; }, 1500);
  });
  for (const table of document.querySelectorAll("table")) {
    const title = document.getElementById(table.getAttribute("aria-labelledby"));
    const made = copied(table, () => copy(text(table), "table"));
    made.className = "copy";
    made.setAttribute("aria-label", `Copy the table ${title.textContent}`);
    title.parentElement.append(made);
  }
  for (const block of document.querySelectorAll(".code")) {
    const made = copied(block, () => copy(block.querySelector("code").textContent, "text"));
    made.className = "copy";
    block.append(made);
  }

  // -- sorting --------------------------------------------------------------------------------------------------
  const key = (row, column) => {
    const cell = row.cells[column];
    const figure = cell.querySelector("data");
    const number = figure ? figure.value : cell.dataset.order ?? cell.textContent.trim();
    return number !== "" && Number.isFinite(Number(number)) ? Number(number) : cell.textContent.trim();
  };
  const compare = (a, b) => {
    if (typeof a === "number" && typeof b === "number") return a - b;
    if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
    return a.localeCompare(b, "en", { numeric: true });
  };
  const NEXT = { none: "ascending", ascending: "descending", descending: "none" };
  const sort = (table, column, header) => {
    const order = NEXT[header.getAttribute("aria-sort") ?? "none"];
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    if (order !== "none") header.setAttribute("aria-sort", order);
    for (const body of table.tBodies) {
      const rows = [...body.rows];
      for (const row of rows) row.dataset.place ??= rows.indexOf(row);
      const sign = order === "descending" ? -1 : 1;
      rows.sort(order === "none"
        ? (a, b) => a.dataset.place - b.dataset.place
        : (a, b) => blank(a, b, column) || sign * compare(key(a, column), key(b, column)));
      body.append(...rows);
    }
    say(order === "none" ? "in the first order" : `sorted by ${header.dataset.name}, ${order}`);
  };
  const blank = (a, b, column) => (key(a, column) === "") - (key(b, column) === "");
  for (const table of document.querySelectorAll("table:not(.fixed)")) {
    if (![...table.tBodies].some((body) => body.rows.length > 1)) continue;
    [...table.tHead.rows[0].cells].forEach((header, column) => {
      if (header.tagName !== "TH" || header.querySelector(".hidden")) return;
      header.dataset.name = header.textContent;
      const made = button("", () => sort(table, column, header));
      made.append(...header.childNodes);
      header.append(made);
    });
  }
})();
