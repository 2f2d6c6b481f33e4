// The bar above the tabs.
export function mount(element) {}
