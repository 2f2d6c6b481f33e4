// Fills the tab. `page` has `make`, `call` and `button` of the page, and `root`, the path below which the server answers.
export async function mount(element, page) {
  const words = page.make("p", "", "Asking…");
  element.append(words);
  async function refresh() {
    const {contrast} = await (await fetch(`${page.root}/latent-contrast`)).json();
    words.textContent = `Latent contrast: ${contrast}`;
  }
  element.append(page.button("Refresh", "Ask for the option again", refresh));
  await refresh();
}
