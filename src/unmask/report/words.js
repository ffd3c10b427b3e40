// How numbers read.

const SUPERSCRIPTS = { "-": "⁻", 0: "⁰", 1: "¹", 2: "²", 3: "³", 4: "⁴", 5: "⁵", 6: "⁶", 7: "⁷", 8: "⁸", 9: "⁹" };

function read(x) {
  if (x === null || !Number.isFinite(x)) return "unknown";
  const size = Math.abs(x);
  if (size === 0) return "0";
  if (size < 1e-3 || size >= 1e6) {
    const [digits, power] = x.toExponential(1).split("e");
    const raised = [...String(Number(power))].map((sign) => SUPERSCRIPTS[sign]).join("");
    return `${digits} × 10${raised}`.replace("-", "−");
  }
  const decimals = size >= 100 ? 1 : size >= 10 ? 2 : size >= 0.1 ? 3 : 4;
  return x.toFixed(decimals).replace("-", "−");
}

const signed = (x) => (x > 0 ? "+" : "") + read(x);
const whole = (x) => Math.round(x).toLocaleString("en-GB");
const many = (count, noun) => `${whole(count)} ${noun}${count === 1 ? "" : "s"}`;

function percent(x) {
  if (x === null || !Number.isFinite(x)) return "unknown";
  const share = x * 100;
  if (share > 0 && share < 0.1) return "< 0.1 %";
  if (share > 99.9 && share < 100) return "> 99.9 %";
  return `${share < 10 && share > -10 ? Number(share.toFixed(1)) : share.toFixed(0)} %`.replace("-", "−");
}

// A part of a page, with its title and how to read it.

function panel(name, title, ...children) {
  return el("section", { class: `panel ${name}`, "data-panel": name }, el("h3", {}, title), children);
}

const howto = (...sentences) => el("p", { class: "howto" }, sentences.join(" "));
