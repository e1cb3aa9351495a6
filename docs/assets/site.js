// What the theme makes without a name, or without a way to it by keyboard.
addEventListener("load", () => {
  document.querySelector(".md-search")?.setAttribute("aria-label", "Search");
  for (const one of document.querySelectorAll("pre > code, .md-typeset__scrollwrap")) {
    one.setAttribute("tabindex", "0");
  }
});
