// Keys 1-4 vote; the pages' links are a landmark; the language link names the other language; the status is read
// aloud by screen readers.
(() => {
  const typing = (element) => element.closest("input, textarea, select, [contenteditable='true']");
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || typing(event.target)) return;
    const index = ["1", "2", "3", "4"].indexOf(event.key);
    if (index < 0) return;
    const button = document.querySelectorAll("#votes button")[index];
    if (button && !button.disabled) {
      event.preventDefault();
      button.click();
    }
  });
  // After sending, the keys are for voting: leave the prompt box.
  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing && event.target.closest("#prompt textarea")) {
      setTimeout(() => event.target.blur(), 50);
    }
  });
  document.addEventListener("click", (event) => {
    const link = event.target.closest("#language");
    if (!link) return;
    event.preventDefault();
    const other = document.documentElement.lang === "ko" ? "en" : "ko";
    window.location.href = `${link.getAttribute("href")}?lang=${other}`;
  });
  const mark = () => {
    const status = document.querySelector("#status");
    if (status && !status.hasAttribute("role")) {
      status.setAttribute("role", "status");
      status.setAttribute("aria-live", "polite");
    }
    const pages = document.querySelector("#pages");
    const here = pages?.querySelector("a[aria-current]");
    if (here && !pages.hasAttribute("role")) {
      pages.setAttribute("role", "navigation");
      pages.setAttribute("aria-label", document.documentElement.lang === "ko" ? "페이지" : "Pages");
      // On a phone the row may be wider than the screen; its words come after it.
      new ResizeObserver(() => {
        const [row, link] = [pages, here].map((each) => each.getBoundingClientRect());
        pages.scrollLeft += link.left - row.left - (row.width - link.width) / 2;
      }).observe(here);
    }
  };
  new MutationObserver(mark).observe(document, { childList: true, subtree: true });
})();
