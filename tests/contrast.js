// Texts on a page whose contrast with what is behind them is too low: 4.5 to 1, or 3 to 1 where they are large.
() => {
  const parse = (c) => { const m = c.match(/[\d.]+/g).map(Number); return [m[0], m[1], m[2], m.length > 3 ? m[3] : 1]; };
  const over = (a, b) => [0, 1, 2].map((i) => a[i] * a[3] + b[i] * (1 - a[3])).concat(1);
  const light = (c) => { const [r, g, b] = c.slice(0, 3).map((v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const behind = (el) => { const layers = []; for (let e = el; e; e = e.parentElement) layers.push(parse(getComputedStyle(e).backgroundColor)); return layers.reverse().reduce((b, a) => over(a, b), [255, 255, 255, 1]); };
  const found = {};
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const node = walk.currentNode, el = node.parentElement;
    if (!node.textContent.trim() || !el.checkVisibility({ checkOpacity: true, checkVisibilityCSS: true })) continue;
    if (el.closest("svg, script, style, math, [disabled], .headerlink, .md-clipboard, [aria-hidden=true]")) continue;
    const s = getComputedStyle(el), back = behind(el);
    let seen = parse(s.color); 
    for (let e = el; e; e = e.parentElement) seen[3] *= +getComputedStyle(e).opacity;
    const a = light(over(seen, back)), b = light(back), ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const large = parseFloat(s.fontSize) >= 24 || (parseFloat(s.fontSize) >= 18.6 && +s.fontWeight >= 700);
    if (ratio < (large ? 3 : 4.5)) found[`${el.tagName}.${el.className} ${s.color} on ${back.slice(0, 3).map(Math.round)}: ${ratio.toFixed(2)}`] = node.textContent.trim().slice(0, 40);
  }
  return Object.entries(found).map(([k, v]) => `${k} “${v}”`);
}
