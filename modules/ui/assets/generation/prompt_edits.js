// Edits of a prompt by keys, as in A1111: the weight of words, and the order of its parts. Texts in, edits out; an edit is
// {from, to, insert, start, end}: what is replaced by what, and the selection afterwards.

const BRACKETS = {"(": ")", "[": "]", "<": ">"};

function isEscaped(text, index) {
  let count = 0;
  while (text[index - 1 - count] === "\\") count += 1;
  return count % 2 === 1;
}

// Returns the innermost pair of brackets around text[start, end), without those that are escaped: {open, close}, or null.
function enclosing(text, start, end) {
  const stack = [];
  for (let index = 0; index < text.length; index += 1) {
    const sign = text[index];
    if (!"()[]<>".includes(sign) || isEscaped(text, index)) continue;
    if (sign in BRACKETS) {
      stack.push(index);
    } else if (stack.length && BRACKETS[text[stack.at(-1)]] === sign) {
      const open = stack.pop();
      if (open < start && index >= end) return {open, close: index};
    }
  }
  return null;
}

function formatted(weight) {
  const text = String(Number(weight.toPrecision(12)));
  return /^-?\d+$/.test(text) ? `${text}.0` : text;
}

// Changes every weight of <kind:name:weight>; one without a weight has 1.
function networkEdit(text, {open, close}, position, delta) {
  const [kind, name, ...args] = text.slice(open + 1, close).split(":");
  if (name === undefined) return null;
  const isNumber = (arg) => arg.trim() !== "" && !Number.isNaN(Number(arg));
  const weights = args.length ? args : ["1"];
  const changed = weights.map((arg) => isNumber(arg) ? formatted(Number(arg) + delta) : arg);
  const insert = `<${[kind, name, ...changed].join(":")}>`;
  const last = open + insert.length - 1;
  const cursor = position === close ? last : Math.min(position, last);
  return {from: open, to: close + 1, insert, start: cursor, end: cursor};
}

// Returns the words of a bracket and their weight: (a:1.2) has its own, ((a)) has 1.1 for each pair, [a] its inverse; null if
// the bracket is no weight but prompt editing or alternatives.
function weightedGroup(text, {open, close}, step) {
  const inside = text.slice(open + 1, close);
  const own = text[open] === "(" && inside.match(/^([\s\S]*):\s*([-+]?(?:\d+\.?\d*|\.\d+))\s*$/);
  if (own) return {open, close, words: own[1], weight: Number(own[2])};
  if (text[open] === "[" && /[:|]/.test(inside)) return null;
  let pairs = 1;
  while (text[open - pairs] === text[open] && text[close + pairs] === text[close]) pairs += 1;
  const weight = (text[open] === "(" ? 1.1 : 1 / 1.1) ** pairs;
  const rounded = Math.round(weight / step) * step;
  return {open: open - pairs + 1, close: close + pairs - 1, words: inside, weight: rounded, shift: pairs};
}

function wordAt(text, position, delimiters) {
  const ends = (sign) => sign === undefined || /[\s()[\]<>|]/.test(sign) || delimiters.includes(sign);
  let start = position, end = position;
  while (!ends(text[start - 1])) start -= 1;
  while (!ends(text[end])) end += 1;
  return [start, end];
}

function trimmedSpace(text, start, end) {
  while (start < end && /\s/.test(text[start])) start += 1;
  while (end > start && /\s/.test(text[end - 1])) end -= 1;
  return [start, end];
}

// Returns the selection without white space around it, and without the brackets if it is a whole bracket.
function trimmed(text, selectionStart, selectionEnd) {
  const [start, end] = trimmedSpace(text, selectionStart, selectionEnd);
  if (text[start] in BRACKETS && end - start > 1) {
    const pair = enclosing(text, start + 1, start + 1);
    if (pair && pair.open === start && pair.close === end - 1) return trimmed(text, start + 1, end - 1);
  }
  return [start, end];
}

// Returns whether a selection is what a group weighs: all of its words, or with their weight.
function coversGroup(text, start, end, group) {
  const first = group.open + (group.shift ?? 1);
  const between = text.slice(start, end).replace(/:[^:]*$/, "").trim();
  return text.slice(first, start).trim() === "" && between === group.words.replace(/:[^:]*$/, "").trim();
}

/**
 * Returns the edit that raises (direction 1) or lowers (-1) the weight of the selected words, or of those at the cursor.
 * `steps` is {attention, extra, delimiters}. Returns null where there is nothing to weigh.
 */
export function weightEdit(text, selectionStart, selectionEnd, direction, steps) {
  const isCursor = selectionStart === selectionEnd;
  let [start, end] = isCursor ? [selectionStart, selectionEnd] : trimmed(text, selectionStart, selectionEnd);
  // Behind a bracket, as after it was typed or put in, the cursor belongs to it.
  if (isCursor && ")]>".includes(text[start - 1] || " ") && !isEscaped(text, start - 1)) start = end = start - 1;
  const pair = enclosing(text, start, end);
  if (pair && text[pair.open] === "<") return networkEdit(text, pair, start, direction * steps.extra);
  const group = pair && weightedGroup(text, pair, steps.attention);
  if (group && (isCursor || coversGroup(text, start, end, group))) {
    return groupEdit(group, [start, end], direction * steps.attention, isCursor);
  }
  if (isCursor) [start, end] = wordAt(text, start, steps.delimiters);
  if (start === end) return null;
  const words = text.slice(start, end);
  const cursor = selectionStart + 1;
  return {
    from: start, to: end, insert: `(${words}:${formatted(1 + direction * steps.attention)})`,
    start: isCursor ? cursor : start + 1, end: isCursor ? cursor : end + 1,
  };
}

function groupEdit(group, [start, end], delta, isCursor) {
  const weight = formatted(group.weight + delta);
  const isPlain = Number(weight) === 1;
  const insert = isPlain ? group.words : `(${group.words}:${weight})`;
  // Where the words stand now, and where they will.
  const before = group.open + (group.shift ?? 1), after = group.open + (isPlain ? 0 : 1);
  const moved = (position) => after + Math.min(Math.max(position - before, 0), group.words.length);
  const selection = isCursor ? [moved(start), moved(start)] : [after, after + group.words.length];
  return {from: group.open, to: group.close + 1, insert, start: selection[0], end: selection[1]};
}

// Returns the parts of text[from, to) between commas that stand in no bracket of it, or its words if there are none; each
// without white space around it: [start, end].
function partsOf(text, from, to) {
  const cuts = [];
  let depth = 0;
  for (let index = from; index < to; index += 1) {
    if (isEscaped(text, index)) continue;
    if (text[index] in BRACKETS) depth += 1;
    else if (")]>".includes(text[index])) depth = Math.max(0, depth - 1);
    else if (text[index] === "," && !depth) cuts.push(index);
  }
  if (!cuts.length) {
    return [...text.slice(from, to).matchAll(/\S+/g)].map((match) => [from + match.index, from + match.index + match[0].length]);
  }
  return [from - 1, ...cuts].map((cut, index) => trimmedSpace(text, cut + 1, cuts[index] ?? to)).filter(([start, end]) => end > start);
}

/**
 * Returns the edit that moves the part between commas in which the cursor or the selection is past its neighbour on the left
 * (direction -1) or right (1); without a comma, the word. Returns null where there is no neighbour.
 */
export function moveEdit(text, start, end, direction) {
  const pair = enclosing(text, start, end);
  const group = pair && text[pair.open] === "(" && weightedGroup(text, pair, 1);
  const isWithin = group && group.words.includes(",") && end <= pair.open + 1 + group.words.length;
  const parts = isWithin ? partsOf(text, pair.open + 1, pair.open + 1 + group.words.length) : partsOf(text, 0, text.length);
  const first = parts.findIndex((part) => part[1] >= start), last = parts.findLastIndex((part) => part[0] <= end);
  if (first < 0 || last < first) return null;
  const own = [parts[first][0], parts[last][1]], other = parts[direction < 0 ? first - 1 : last + 1];
  if (!other) return null;
  const [left, right] = direction < 0 ? [other, own] : [own, other];
  const insert = text.slice(...right) + text.slice(left[1], right[0]) + text.slice(...left);
  const shift = direction < 0 ? left[0] - own[0] : right[1] - own[1];
  return {from: left[0], to: right[1], insert, start: start + shift, end: end + shift};
}
