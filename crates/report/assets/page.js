"use strict";
(() => {
  const root = document.documentElement;
  const button = document.getElementById("theme");
  const themes = ["auto", "light", "dark"];
  const recall = () => { try { return localStorage.getItem("servelab-theme"); } catch { return null; } };
  const store = (theme) => { try { localStorage.setItem("servelab-theme", theme); } catch { /* file:// may forbid it */ } };
  const show = (theme) => {
    if (theme === "auto") { delete root.dataset.theme; } else { root.dataset.theme = theme; }
    button.textContent = `Theme: ${theme}`;
    button.dataset.now = theme;
  };
  show(themes.includes(recall()) ? recall() : "auto");
  button.addEventListener("click", () => {
    const next = themes[(themes.indexOf(button.dataset.now) + 1) % themes.length];
    store(next);
    show(next);
  });

  const value = (row, column) => row.children[column]?.dataset.sort ?? "";
  const compare = (a, b, numeric) =>
    numeric ? Number(a) - Number(b) : a.localeCompare(b, "en", { numeric: true, sensitivity: "base" });
  const sort = (header) => {
    const table = header.closest("table");
    const body = table.tBodies[0];
    const column = [...header.parentElement.children].indexOf(header);
    const order = header.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
    const sign = order === "ascending" ? 1 : -1;
    const numeric = header.classList.contains("num");
    const rows = [...body.rows];
    rows.sort((x, y) => {
      const [a, b] = [value(x, column), value(y, column)];
      // A row without a value stays last, whichever way the others go.
      if (a === "" || b === "") { return (a === "" ? 1 : 0) - (b === "" ? 1 : 0); }
      return sign * compare(a, b, numeric);
    });
    body.append(...rows);
    for (const other of header.parentElement.children) { other.removeAttribute("aria-sort"); }
    header.setAttribute("aria-sort", order);
  };
  for (const header of document.querySelectorAll("table.sortable thead th")) {
    header.querySelector("button").addEventListener("click", () => sort(header));
  }

  // A link may lead into a folded part.
  const reveal = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const folded = target?.closest("details:not([open])");
    if (folded) { folded.open = true; target.scrollIntoView(); }
  };
  addEventListener("hashchange", reveal);
  reveal();

  // Paper cannot be unfolded; what was folded before is folded again afterwards.
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open])")];
    for (const details of opened) { details.open = true; }
  });
  addEventListener("afterprint", () => { for (const details of opened) { details.open = false; } });
})();
