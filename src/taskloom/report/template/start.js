// Draw, and draw again when the width, the colours or the medium change.

document.querySelectorAll("table.sortable").forEach(makeSortable);
drawAll();

let widthDrawn = root.clientWidth;
let waiting = 0;
window.addEventListener("resize", () => {
  cancelAnimationFrame(waiting);
  waiting = requestAnimationFrame(() => {
    if (root.clientWidth === widthDrawn || "printing" in root.dataset) return;
    widthDrawn = root.clientWidth;
    drawAll();
  });
});

window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);

// Paper is light, has its own width, and nothing on it can be unfolded.
const folded = [];
window.addEventListener("beforeprint", () => {
  root.dataset.printing = "";
  document.querySelectorAll("details:not([open])").forEach((fold) => {
    fold.open = true;
    folded.push(fold);
  });
  drawAll();
});
window.addEventListener("afterprint", () => {
  delete root.dataset.printing;
  folded.splice(0).forEach((fold) => (fold.open = false));
  drawAll();
});
