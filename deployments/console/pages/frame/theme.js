// Runs before the first paint, so that a chosen theme does not flash the other one. Without a choice the system decides.
(() => {
  let chosen = null
  try {
    chosen = localStorage.getItem("theme")
  } catch {
    // storage is forbidden: the system's theme then
  }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen
})()
