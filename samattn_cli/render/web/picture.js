(() => {
  const scheme = matchMedia("(prefers-color-scheme: dark)");
  const draw = () => {
    const shown = scheme.matches ? { ...spec, config: darkConfig } : spec;
    const actions = { export: true, source: false, compiled: false, editor: false };
    const tooltip = { theme: scheme.matches ? "dark" : "light" };
    vegaEmbed("#live", shown, { mode: "vega-lite", renderer, actions, tooltip })
      .then(() => document.body.classList.add("drawn"))
      .catch(console.error);
  };
  scheme.addEventListener("change", draw);
  draw();
})();
