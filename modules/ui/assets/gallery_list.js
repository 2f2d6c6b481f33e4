// The pictures of a search: fetched page by page, in order, as far as someone looks.
import {call} from "./core.js";

const PAGE = 250;

// options: onChange() is called when pictures have come or gone, onError(error) when the server refuses.
export function makeList(options) {
  let items = [], total = 0, cursor = "", filters = {}, wanted = 0, round = 0, isFetching = false;
  let revision = -1;  // of the server's index when the first page was read

  const query = (more) => new URLSearchParams(
    [...Object.entries(filters), ["limit", PAGE], ...Object.entries(more)].filter(([, value]) => value));

  // Fetches from the beginning; what was shown stays until the answer is there.
  async function load(newFilters = filters) {
    filters = newFilters;
    const mine = ++round;
    isFetching = true;
    try {
      const page = await call(`gallery/images?${query({})}`);
      if (mine !== round) return;
      [items, total, cursor, wanted, revision] = [page.images, page.total, page.cursor, 0, page.revision];
      options.onChange();
    } catch (error) {
      if (mine === round) options.onError(error);
    } finally {
      if (mine === round) isFetching = false;
    }
  }

  // Fetches on until there is the picture at this index.
  async function need(index) {
    wanted = Math.max(wanted, index);
    if (isFetching || !cursor || wanted < items.length) return;
    const mine = round;
    isFetching = true;
    try {
      while (cursor && wanted >= items.length && mine === round) {
        const page = await call(`gallery/images?${query({cursor})}`);
        if (mine !== round) return;
        items = items.concat(page.images);
        cursor = page.cursor;
        if (!cursor) total = items.length;
        options.onChange();
      }
    } catch (error) {
      if (mine === round) options.onError(error);
    } finally {
      if (mine === round) isFetching = false;
    }
  }

  function remove(ids) {
    const before = items.length;
    items = items.filter((image) => !ids.has(image.id));
    total -= before - items.length;
    options.onChange();
  }

  return {
    load, need, remove,
    get items() { return items; },
    get filters() { return filters; },
    get total() { return total; },
    get revision() { return revision; },
  };
}
