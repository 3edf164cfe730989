/** The ways by which a photo of the user's comes in: chosen, dropped or pasted. */

/** Calls `take(file)` for each photo that is chosen, dropped anywhere on the page, or pasted. */
export function watchForPhotos({ chooser, input, veil }, take) {
  chooser.addEventListener("click", () => input.click());
  input.addEventListener("change", () => {
    if (input.files[0]) take(input.files[0]);
    input.value = ""; // so that the same file can be chosen again
  });

  let depth = 0; // of the elements that the pointer has entered and not left
  const dialogIsOpen = () => document.querySelector("dialog[open]") !== null;
  const holdsFile = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  const cover = (shown) => {
    veil.hidden = !shown;
    if (!shown) depth = 0;
  };
  document.addEventListener("dragenter", (event) => {
    if (!holdsFile(event) || dialogIsOpen()) return;
    event.preventDefault();
    depth += 1;
    cover(true);
  });
  document.addEventListener("dragleave", (event) => {
    if (!holdsFile(event) || dialogIsOpen()) return;
    depth -= 1;
    if (depth <= 0) cover(false);
  });
  document.addEventListener("dragover", (event) => {
    if (holdsFile(event)) event.preventDefault();
  });
  document.addEventListener("drop", (event) => {
    if (!holdsFile(event)) return;
    event.preventDefault(); // the browser would leave the page for the file
    cover(false);
    const file = event.dataTransfer.files[0];
    if (file && !dialogIsOpen()) take(file);
  });
  document.addEventListener("paste", (event) => {
    const file = [...(event.clipboardData?.files ?? [])].find(({ type }) => type.startsWith("image/"));
    if (!file || dialogIsOpen()) return;
    event.preventDefault();
    take(file);
  });
}
