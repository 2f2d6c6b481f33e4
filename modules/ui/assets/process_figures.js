// What the viewer of the diffusion process draws next to its pictures: formulas with a step's numbers, and curves.
import {make} from "./core.js";

const MATHML = "http://www.w3.org/1998/Math/MathML";
const SVG = "http://www.w3.org/2000/svg";
const SUPERSCRIPTS = {"-": "⁻", 0: "⁰", 1: "¹", 2: "²", 3: "³", 4: "⁴", 5: "⁵", 6: "⁶", 7: "⁷", 8: "⁸", 9: "⁹"};

// Returns a number with four digits; what is not finite is sent as null.
export function number(value) {
  if (value === null || value === undefined) return "∞";
  const size = Math.abs(value);
  if (!size || (size >= 0.001 && size < 10000)) return String(Number(value.toPrecision(4)));
  const [digits, exponent] = value.toExponential(2).split("e");
  return `${digits}·10${[...String(Number(exponent))].map((sign) => SUPERSCRIPTS[sign]).join("")}`;
}

// MathML, which browsers draw by themselves. A root of a fraction is written as two roots: where no font for mathematics is
// installed, its sign does not grow, and seems to end at the numerator.

function math(name, ...children) {
  const element = document.createElementNS(MATHML, name);
  element.append(...children);
  return element;
}

function symbol(text) {
  if (/^[\d∞]/.test(text)) return math("mn", text);
  return math(/^[=−+·(),;|‖]$/.test(text) ? "mo" : "mi", text);
}

// Each part is an element, or text whose words are symbols.
const row = (...parts) => math("mrow", ...parts.flatMap((part) => typeof part === "string" ? part.trim().split(/\s+/).map(symbol) : [part]));
const sub = (base, index) => math("msub", row(base), row(index));
const frac = (above, below) => math("mfrac", row(above), row(below));
const root = (...parts) => math("msqrt", row(...parts));

function over(base, accent) {
  const element = math("mover", row(base), math("mo", accent));
  element.setAttribute("accent", "true");
  return element;
}

const alphaBar = () => sub(over("α", "¯"), "t");
const noise = () => over("ε", "^");
const x0 = () => sub(over("x", "^"), "0");

function entry(text, source, ...lines) {
  const element = make("div", "pv-formula");
  element.append(make("p", "", text), ...lines.map((line) => {
    const formula = math("math", line);
    formula.setAttribute("display", "block");
    return formula;
  }), make("p", "pv-source", source));
  return element;
}

const DDPM = "Ho et al. 2020, Denoising Diffusion Probabilistic Models";

function forwardFormulas({number: time, alpha_bar, beta, snr}) {
  if (!time) return [entry("t = 0: the picture itself, without noise.", DDPM, row(sub("x", "t"), "=", sub("x", "0")))];
  const normal = (mean, variance) => row("N (", mean, ";", variance, "I )");
  return [
    entry(`At once: the picture shrinks, noise of variance 1 − ᾱ takes its place (t = ${time}).`, `${DDPM}, equation 4`,
      row("q (", sub("x", "t"), "|", sub("x", "0"), ") =", normal(row(root(alphaBar()), sub("x", "0")), row("( 1 −", alphaBar(), ")"))),
      row("=", normal(row(number(Math.sqrt(alpha_bar)), sub("x", "0")), row(number(1 - alpha_bar))))),
    entry("One step of the chain: the noise that this step adds.", `${DDPM}, equation 2`,
      row("q (", sub("x", "t"), "|", sub("x", "t − 1"), ") =", normal(row(root("1 −", sub("β", "t")), sub("x", "t − 1")), sub("β", "t"))),
      row("=", normal(row(number(Math.sqrt(1 - beta)), sub("x", "t − 1")), row(number(beta))))),
    entry("Signal and noise.", "Kingma et al. 2021, Variational Diffusion Models",
      row("SNR =", frac(alphaBar(), row("1 −", alphaBar())), "=", frac(number(alpha_bar), number(1 - alpha_bar)), "=", number(snr))),
  ];
}

function reverseFormulas({sigma, timestep, alpha_bar, beta, cfg, distance}) {
  const guidance = cfg === null
    ? entry("Without guidance: the prompt's prediction is taken as it is.", DDPM, row(noise(), "=", sub(noise(), "prompt")))
    : entry("Guidance: away from the negative prompt, by the CFG scale s.", "Ho and Salimans 2022, Classifier-Free Diffusion Guidance",
      row(noise(), "=", sub(noise(), "∅"), "+ s (", sub(noise(), "prompt"), "−", sub(noise(), "∅"), ")"),
      row("s =", number(cfg)));
  return [
    entry(`The noise level here, at timestep ${timestep.toFixed(1)} of 0 to 999; β of the nearest trained step.`, DDPM,
      row(sub("σ", "t"), "=", frac(root("1 −", alphaBar()), root(alphaBar())), "=", frac(root("1 −", number(alpha_bar)), root(number(alpha_bar))), "=", number(sigma)),
      row(alphaBar(), "=", number(alpha_bar), "; ", sub("β", "t"), "=", number(beta))),
    entry("The predicted picture: the sample without its predicted noise.", "Song et al. 2021, Denoising Diffusion Implicit Models, equation 9, in units of σ",
      row(x0(), "= x −", sub("σ", "t"), noise(), "= x −", number(sigma), noise())),
    guidance,
    entry("What is shown as the sample: scaled to the variance of the network's input.", "Karras et al. 2022, Elucidating the Design Space, table 1 (VP)",
      row(frac("x", root("1 +", math("msup", row("σ"), row("2")))), "=", frac("x", number(Math.sqrt(1 + sigma * sigma))))),
    entry("How far the predicted picture is from the end of its pass; a sampler whose distance falls early needs fewer steps.", "Measured in this run, over the n numbers of the latents",
      row("d =", frac(row("‖", x0(), "−", sub("x", "end"), "‖"), root("n")), "=", number(distance))),
  ];
}

// Returns the formulas that a frame is computed by, with its numbers.
export function formulas(half, frame) {
  return half === "forward" ? forwardFormulas(frame) : reverseFormulas(frame);
}

// Curves as SVG

const [WIDTH, HEIGHT, LEFT, BOTTOM, TOP] = [420, 170, 58, 34, 8];

function shape(name, attributes, text = "") {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.textContent = text;
  return element;
}

// Returns a figure with a curve for each line over an axis with a name and both ends, and a function that marks a step of the first one.
export function chart(title, [axis, first, end], lines, isLogarithmic) {
  const figure = make("figure", "pv-chart");
  const scale = (value) => isLogarithmic ? Math.log10(value) : value;
  const isDrawn = (value) => value !== null && (!isLogarithmic || value > 0);
  const values = lines.flatMap((line) => line.values).filter(isDrawn);
  const low = isLogarithmic ? Math.min(...values) : Math.min(0, ...values);
  const high = Math.max(...values, low || 1e-9);
  const span = scale(high) - scale(low) || 1;
  const x = (position, count) => LEFT + position / Math.max(count - 1, 1) * (WIDTH - LEFT - 10);
  const y = (value) => TOP + (1 - (scale(value) - scale(low)) / span) * (HEIGHT - TOP - BOTTOM);
  const svg = shape("svg", {viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": title});
  const ticks = isLogarithmic ? [low, Math.sqrt(low * high), high] : [low, (low + high) / 2, high];
  for (const tick of ticks) {
    svg.append(shape("line", {x1: LEFT, x2: WIDTH - 10, y1: y(tick), y2: y(tick), class: "pv-grid"}),
      shape("text", {x: LEFT - 6, y: y(tick) + 4, "text-anchor": "end"}, Number(tick.toPrecision(2)).toString()));
  }
  const count = lines[0].values.length;
  svg.append(shape("text", {x: LEFT, y: HEIGHT - 18}, String(first)), shape("text", {x: WIDTH - 10, y: HEIGHT - 18, "text-anchor": "end"}, String(end)),
    shape("text", {x: (LEFT + WIDTH) / 2, y: HEIGHT - 4, "text-anchor": "middle"}, axis));
  // The first line is drawn last, over all others; of many, the others are only there to compare it with.
  const isCrowd = lines.length > 3;
  [...lines.entries()].reverse().forEach(([position, line]) => {
    const points = line.values.flatMap((value, step) => isDrawn(value) ? [`${x(step, line.values.length)},${y(value)}`] : []);
    const kind = isCrowd && position ? "pv-line-other" : `pv-line-${position}`;
    const drawn = shape("polyline", {points: points.join(" "), class: `pv-line ${kind}`});
    drawn.append(shape("title", {}, line.name));
    svg.append(drawn);
  });
  const marker = shape("line", {y1: TOP, y2: HEIGHT - BOTTOM, class: "pv-marker"});
  const dot = shape("circle", {r: 4, class: "pv-dot"});
  const names = lines.length > 1 && !isCrowd ? ` (${lines.map((line) => line.name).join(", then ")}, dashed)` : "";
  figure.append(make("figcaption", "", title + names), svg);
  const mark = (step) => {
    if (!marker.isConnected) svg.append(marker, dot);
    const value = lines[0].values[step];
    marker.setAttribute("x1", x(step, count));
    marker.setAttribute("x2", x(step, count));
    dot.setAttribute("cx", x(step, count));
    dot.setAttribute("cy", isDrawn(value) ? y(value) : -10);
  };
  return {figure, mark};
}
