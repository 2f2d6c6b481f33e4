// The networks that a prompt names: tags such as <lora:name:0.8>, and embeddings by their names. Texts in, edits out; an edit is
// {from, to, insert}: what is replaced by what.

const TAG = /<(lora|lyco|hypernet):([^>]*)>/g;
const KINDS = {lora: "LoRA", lyco: "LoRA", hypernet: "Hypernetwork"};
const WEIGHED = ["te", "unet"];  // named arguments of a LoRA; its third positional one, and `dyn`, is a rank
const NUMBER = /^\s*[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?\s*$/i;
const isNamed = (arg) => arg.split("=").length === 2;
const shown = (weight) => String(Number(weight.toFixed(4)));

// Returns what a tag names: {kind, name, start, end, weight, args}; the weight is null where it is no number.
function readTag(match) {
  const [name, ...args] = match[2].split(":");
  const place = args.findIndex((arg) => !isNamed(arg) || arg.startsWith("te="));
  const written = place < 0 ? "1" : args[place].split("=").at(-1);
  const weight = NUMBER.test(written) ? Number(written) : null;
  return {kind: KINDS[match[1]], tag: match[1], name, args, weight, start: match.index, end: match.index + match[0].length};
}

// Returns the tags of a prompt in its order.
export function findTags(text) {
  return [...text.matchAll(TAG)].map(readTag);
}

// Returns the edit that gives a tag another weight; the difference of its weights for text encoder and UNet stays.
export function weighTag(use, weight) {
  const delta = weight - (use.weight ?? 1);
  const moved = (value) => NUMBER.test(value) ? shown(Number(value) + delta) : value;
  let position = -1;
  const args = use.args.map((arg) => {
    if (!isNamed(arg)) {
      position += 1;
      if (use.weight === null && position === 0) return shown(weight);
      return position < 2 ? moved(arg) : arg;
    }
    const [key, value] = arg.split("=");
    return WEIGHED.includes(key.trim()) ? `${key}=${moved(value)}` : arg;
  });
  const hasWeight = args.some((arg) => !isNamed(arg) || arg.startsWith("te="));
  if (!hasWeight) args.unshift(shown(weight));
  return {from: use.start, to: use.end, insert: `<${[use.tag, use.name, ...args].join(":")}>`};
}

const isWordSign = (sign) => sign !== undefined && /[\p{L}\p{N}_]/u.test(sign);

// Returns the embeddings that a text names, the longest name first where several fit; case does not count, as in A1111.
// `names` maps each name in small letters to the name.
export function findEmbeddings(text, names) {
  if (!names.size || !text) return [];
  const longest = Math.max(...[...names.keys()].map((name) => name.length));
  const small = text.toLowerCase(), found = [];
  const tagEnds = new Map(findTags(text).map((tag) => [tag.start, tag.end]));
  for (let start = 0; start < text.length; start += 1) {
    start = tagEnds.get(start) ?? start;
    if (isWordSign(small[start - 1]) || /\s/.test(small[start] ?? " ")) continue;
    for (let end = Math.min(text.length, start + longest); end > start; end -= 1) {
      const name = names.get(small.slice(start, end));
      if (name === undefined || isWordSign(small[end])) continue;
      found.push(withBrackets(text, {kind: "Embedding", tag: "", name, start, end}));
      start = end - 1;
      break;
    }
  }
  return found;
}

// Adds the weight of a name in brackets of its own: (name:1.2).
function withBrackets(text, use) {
  const after = text.slice(use.end).match(/^:\s*([-+]?(?:\d+\.?\d*|\.\d+))\s*\)/);
  if (text[use.start - 1] !== "(" || text[use.start - 2] === "\\" || !after) return {...use, weight: 1, word: text.slice(use.start, use.end)};
  return {...use, word: text.slice(use.start, use.end), weight: Number(after[1]), start: use.start - 1, end: use.end + after[0].length};
}

// Returns the edit that gives a name in a prompt another weight.
export function weighName(use, weight) {
  return {from: use.start, to: use.end, insert: weight === 1 ? use.word : `(${use.word}:${shown(weight)})`};
}

export const weigh = (use, weight) => (use.tag ? weighTag : weighName)(use, weight);

// Returns the edit that takes a part out of a prompt, with a separator that would be left over.
export function takeOut(text, {start, end}) {
  let [from, to] = [start, end];
  const before = text.slice(0, from), after = text.slice(to);
  const left = before.match(/[ \t]*,?[ \t]*$/)[0], right = after.match(/^[ \t]*,?[ \t]*/)[0];
  if (from === left.length) to += right.length;
  else if (to + right.length === text.length) from -= left.length;
  else if (left.includes(",") && right.includes(",")) to += right.length;
  else if (!left.includes(",") && right.includes(",")) from -= left.length;
  else if (/\s$/.test(left) && /^[ \t]/.test(right)) to += 1;
  return {from, to, insert: ""};
}

// Returns the edit that writes words at a position, apart from what stands around them.
export function putIn(text, position, words) {
  const before = text[position - 1], after = text[position];
  const left = before === undefined || /[\s(,[]/.test(before) ? "" : " ";
  const gap = before === "," ? " " : left;
  const right = after === undefined || /[\s,):\]]/.test(after) ? "" : " ";
  return {from: position, to: position, insert: `${gap}${words}${right}`};
}

// Returns the text of a card's tag.
export function tagOf(card) {
  return card.tag ? `<${card.tag}:${card.prompt_name}:${shown(card.weight)}>` : card.prompt_name;
}

// Returns what keeps a card's name from being written in a tag, in a sentence, "" if nothing does.
export function nameProblem(card) {
  const sign = card.tag && card.prompt_name.match(/[:<>]/)?.[0];
  return sign ? `'${card.prompt_name}' cannot be written in a prompt, because of its “${sign}”. Rename the file.` : "";
}
