(() => {
  const tip = document.createElement("div");
  tip.id = "tip";
  tip.hidden = true;
  document.body.append(tip);
  const entry = (name, value) => {
    const row = document.createElement("div");
    const label = document.createElement("span");
    label.className = "note";
    label.textContent = name;
    row.append(label, ` ${value}`);
    return row;
  };
  const show = (_handler, event, _item, value) => {
    tip.hidden = value === null || value === undefined || value === "";
    if (tip.hidden) return;
    const rows = typeof value === "object" ? Object.entries(value) : [["", value]];
    tip.replaceChildren(...rows.filter(([, text]) => text !== "" && text !== null).map((row) => entry(...row)));
    const box = tip.getBoundingClientRect();
    const left = event.clientX + 14 + box.width > innerWidth ? event.clientX - 14 - box.width : event.clientX + 14;
    tip.style.left = `${Math.max(4, left)}px`;
    tip.style.top = `${Math.max(4, Math.min(event.clientY + 14, innerHeight - box.height - 4))}px`;
  };
  [...document.querySelectorAll("figure")].slice(0, charts.length).forEach((figure, number) => {
    const actions = { export: true, source: false, compiled: false, editor: false };
    const options = { mode: "vega-lite", renderer: "svg", actions, tooltip: show };
    vegaEmbed(figure.querySelector(".live"), charts[number], options).then(() => figure.classList.add("drawn")).catch(console.error);
  });
})();
