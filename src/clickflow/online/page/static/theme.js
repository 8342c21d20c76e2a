// Before the first paint, so that nothing flashes: the theme that was chosen here, else the system's.
(() => {
  let theme = "auto";
  try {
    theme = localStorage.getItem("clickflow.theme") || "auto";
  } catch {
    // storage is off: the system's theme
  }
  document.documentElement.dataset.theme = theme;
})();
