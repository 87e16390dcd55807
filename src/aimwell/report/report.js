// Turns the report's chart specifications into ECharts options in the reader's language, switches the
// language, and marks the section that is read. No figure is computed here: all stand in the page.
(function () {
  'use strict';

  const settings = JSON.parse(document.querySelector('body > script[type="application/json"]').textContent);
  const TONES = {
    accent: '#1677ff', gain: '#52c41a', loss: '#f5222d', quiet: '#8c8c8c', amber: '#fa8c16', truth: '#722ed1',
  };
  const PALETTE = ['#1677ff', '#13c2c2', '#fa8c16', '#722ed1', '#eb2f96', '#7cb305'];
  const INK = '#1f2329', SOFT = '#5c6470', LINE = '#f0f0f0';
  const FONT = getComputedStyle(document.body).fontFamily;
  // Levels, such as a baseline, are no effects: they carry no sign and are not read against zero.
  const LEVELS = ['accent', 'amber'];
  let language = 'en';

  // ---- figures in the reader's way -------------------------------------------------------------------
  const say = (text) => (text ? text[language] : '');
  const word = (name) => say(settings.words[name]);

  function group(value, places) {
    return value.toLocaleString('en-US', { minimumFractionDigits: places, maximumFractionDigits: places });
  }

  function writeMoney(size) {
    const sign = settings.signs[language];
    if (language === 'zh' && size >= 1e8) return `${sign}${group(size / 1e8, 2)} 亿`;
    if (language === 'zh' && size >= 1e5) return `${sign}${group(size / 1e4, 1)} 万`;
    return sign + group(size, size >= 1000 ? 0 : 2);
  }

  function write(value, unit) {
    if (value === null || value === undefined) return '—';
    const size = Math.abs(value), minus = value < 0 ? '−' : '';
    if (unit === 'money') return minus + writeMoney(size);
    if (unit === 'percent') return minus + trim(group(size * 100, size < 0.01 ? 2 : 1)) + '%';
    if (unit === 'points') return minus + group(size * 100, 1) + (language === 'zh' ? ' 个百分点' : ' pp');
    if (unit === 'ratio') return minus + group(size, 2);
    if (unit === 'count') return minus + (size >= 1e8 && language === 'zh' ? `${group(size / 1e8, 2)} 亿` : trim(group(size, 1)));
    return minus + (size >= 1000 ? group(size, 0) : String(Number(size.toPrecision(4))));
  }

  const trim = (text) => text.replace(/\.0+$/, '');
  const signed = (value, unit) => (value > 0 ? '+' : '') + write(value, unit);

  // Axis labels stand close together: round numbers only, shortened where large.
  function tick(value, unit) {
    const size = Math.abs(value), minus = value < 0 ? '−' : '';
    if (unit === 'percent' || unit === 'points') return minus + trimmed(size * 100) + (unit === 'percent' ? '%' : '');
    if (unit === 'ratio' || unit === 'plain') return minus + trimmed(size);
    const sign = unit === 'money' ? settings.signs[language] : '';
    if (language === 'zh' && size >= 1e8) return `${minus}${sign}${trimmed(size / 1e8)}亿`;
    if (language === 'zh' && size >= 1e5) return `${minus}${sign}${trimmed(size / 1e4)}万`;
    if (language === 'en' && size >= 1e6) return `${minus}${sign}${trimmed(size / 1e6)}M`;
    return `${minus}${sign}${group(size, size < 10 && size % 1 ? (Math.abs(size * 10 % 1) > 1e-9 ? 2 : 1) : 0)}`;
  }

  const trimmed = (value) => Number(value.toFixed(2)).toLocaleString('en-US', { maximumFractionDigits: 2 });

  // ---- pieces that all charts share ------------------------------------------------------------------
  function start(extra) {
    return Object.assign({
      animation: false,
      color: PALETTE,
      textStyle: { fontFamily: FONT, fontSize: 12, color: SOFT },
      tooltip: {
        renderMode: 'richText', confine: true, backgroundColor: '#fff', borderColor: '#d9d9d9', borderWidth: 1,
        padding: [8, 12], textStyle: { fontFamily: FONT, fontSize: 12, color: INK, lineHeight: 18 },
      },
    }, extra);
  }

  const grid = (extra) => Object.assign(
    { left: 4, right: 16, top: 36, bottom: 8, outerBoundsMode: 'same', outerBoundsContain: 'all' }, extra);

  const legend = (names) => ({
    type: 'plain', data: names, top: 0, left: 0, right: 0, icon: 'roundRect', itemWidth: 14, itemHeight: 4,
    itemGap: 18, textStyle: { fontFamily: FONT, fontSize: 12, color: SOFT, width: 240, overflow: 'truncate' },
  });

  // About as wide as the text will be drawn: a Chinese character is twice a Latin one.
  const widthOf = (text) => [...text].reduce((sum, one) => sum + (one > '\u2e7f' ? 12.5 : /[A-Z%]/.test(one) ? 8.5 : 6.7), 0);

  // A long name on as many lines as its row has room for, three at most, cut where it still does not fit.
  function wrap(name, width, room) {
    const most = room < 30 ? 1 : room < 50 ? 2 : 3;
    if (most < 2) return cut(name, width);
    const words = name.match(/（[^（）]{1,6}）|[\u2e80-\uffff][，。、；：）]?|[^\s\u2e80-\uffff]+\s*|\s+/g) || [];
    const lines = [''];
    for (const word of words) {
      if (lines[lines.length - 1] && widthOf(lines[lines.length - 1] + word.trimEnd()) > width) lines.push('');
      lines[lines.length - 1] += word;
    }
    if (lines.length > most) lines[most - 1] = lines.slice(most - 1).join('');
    return lines.slice(0, most).map((line) => cut(line.trim(), width)).join('\n');
  }

  // What the names of rows may take of a chart's width.
  const labelWidth = (width) => Math.min(Math.max(width * (width > 340 ? 0.4 : 0.36), 100), 320);

  function cut(line, width) {
    const letters = [...line];
    while (letters.length > 1 && widthOf(letters.join('') + '…') > width + 7) letters.pop();
    return letters.length < [...line].length ? `${letters.join('').trimEnd()}…` : line;
  }

  // How high the legend will be: it breaks into lines, and the drawing starts below the last.
  function under(names, width) {
    let lines = 1, at = 0;
    for (const name of names) {
      const item = Math.min(widthOf(name.name || name), 240) + 22;
      if (at > 0 && at + item > width) { lines += 1; at = 0; }
      at += item + 18;
    }
    return lines * 22;
  }

  const shapes = (names) => Object.assign(legend(names), { itemWidth: 10, itemHeight: 10 });

  function measured(axis, place, narrow) {
    const vertical = place === 'y';
    return {
      type: 'value', name: vertical ? '' : say(axis.title), nameLocation: 'middle', nameGap: 30,
      nameTextStyle: { color: SOFT, fontFamily: FONT }, min: axis.lower ?? undefined, max: axis.upper ?? undefined,
      splitNumber: narrow ? 3 : 5, interval: axis.lower === 0 && axis.upper === 1 ? (narrow ? 0.25 : 0.2) : undefined,
      axisLine: { show: !vertical, lineStyle: { color: '#d9d9d9' } },
      axisTick: { show: false }, splitLine: { show: vertical, lineStyle: { color: LINE } },
      axisLabel: { color: SOFT, fontFamily: FONT, hideOverlap: true, formatter: (value) => tick(value, axis.unit) },
    };
  }

  function named(names, extra) {
    return Object.assign({
      type: 'category', data: names, axisLine: { lineStyle: { color: '#d9d9d9' } }, axisTick: { show: false },
      axisLabel: { color: INK, fontFamily: FONT, interval: 0 },
    }, extra);
  }

  const block = (title, rows) => [title, ...rows.map(([name, value]) => `${name}  ${value}`)].join('\n');

  // ---- one function a kind of chart ------------------------------------------------------------------
  function drawCurves(spec, narrow, width) {
    const colours = spec.lines.map((line, at) => TONES[line.tone] || PALETTE[at % PALETTE.length]);
    const lines = spec.lines.map((line, at) => ({
      type: 'line', name: say(line.name), data: line.points, showSymbol: line.dots, symbol: 'circle', symbolSize: 6,
      // The first line is what the chart is about: it lies on top.
      z: 5 - at / 100, itemStyle: { color: colours[at] },
      lineStyle: { width: line.dashed ? 1.5 : 2.5, type: line.dashed ? 'dashed' : 'solid', color: colours[at] },
      areaStyle: line.area ? { color: colours[at], opacity: 0.08 } : undefined,
      emphasis: { disabled: true },
    }));
    const bands = spec.bands.map((band) => drawBand(band, spec.bands.length > 2 ? 0.08 : 0.14));
    const marks = spec.marks.map((mark) => drawMark(mark, spec));
    const names = [...new Set([...spec.lines, ...spec.bands].map((one) => say(one.name)))];
    return start({
      grid: grid({ top: under(names, width) + 30 }), legend: legend(names),
      xAxis: measured(spec.x, 'x', narrow), yAxis: Object.assign(measured(spec.y, 'y', narrow), { name: say(spec.y.title), nameLocation: 'end', nameGap: 10, nameTextStyle: { align: 'left', color: SOFT, fontFamily: FONT, padding: [0, 0, 0, -4] } }),
      series: [...bands, ...lines, ...marks],
      tooltip: Object.assign(start({}).tooltip, {
        trigger: 'item',
        formatter: (item) => block(item.seriesName, [
          [say(spec.x.title), write(item.value[0], spec.x.unit)], [say(spec.y.title), write(item.value[1], spec.y.unit)],
        ]),
      }),
    });
  }

  // A band is one polygon: forth along the upper ends, back along the lower ones.
  function drawBand(band, opacity) {
    return {
      type: 'custom', name: say(band.name), data: band.points, encode: { x: 0, y: [1, 2] }, clip: true, silent: true, z: 2,
      itemStyle: { color: '#bae0ff' },
      renderItem: (params, api) => {
        if (params.dataIndexInside > 0) return null;
        const upper = band.points.map((point) => api.coord([point[0], point[2]]));
        const lower = band.points.map((point) => api.coord([point[0], point[1]])).reverse();
        return { type: 'polygon', shape: { points: upper.concat(lower) }, style: { fill: TONES[band.tone] || TONES.accent, opacity } };
      },
    };
  }

  function drawMark(mark, spec) {
    const last = Math.max(...spec.lines.flatMap((line) => line.points.map((point) => point[0])), mark.x);
    const left = mark.x > last * 0.55;
    const colour = TONES[mark.tone] || TONES.accent;
    return {
      type: 'scatter', name: say(mark.name), data: [[mark.x, mark.y]], symbolSize: 14, z: 6,
      itemStyle: { color: colour, borderColor: '#fff', borderWidth: 2 },
      label: {
        show: true, position: left ? 'left' : 'right', distance: 8, offset: [0, 16], fontFamily: FONT, fontWeight: 600, fontSize: 13, color: INK,
        backgroundColor: 'rgba(255,255,255,.85)', padding: [2, 4],
        formatter: `${say(mark.name)} ${write(mark.y, spec.y.unit)}`,
      },
      markLine: {
        silent: true, symbol: 'none', label: { show: false }, lineStyle: { color: colour, type: 'dashed' },
        data: [{ xAxis: mark.x }],
      },
    };
  }

  function drawBars(spec, narrow, width, height) {
    const unit = spec.axis.unit, names = spec.series.map((part) => say(part.name));
    const series = spec.series.map((part, at) => ({
      type: 'bar', name: say(part.name), data: part.values, barMaxWidth: 14, barGap: '20%', barCategoryGap: '35%',
      itemStyle: { color: TONES[part.tone] || PALETTE[at], borderRadius: 2 }, stack: spec.stacked ? 'all' : undefined,
      label: { show: !spec.stacked && !narrow, position: 'right', color: SOFT, fontFamily: FONT, fontSize: 11, formatter: (item) => (item.value === null ? '' : write(item.value, unit)) },
      emphasis: { disabled: true },
    }));
    return start({
      grid: grid({ right: narrow ? 12 : 64, top: under(names, width) + 10 }), legend: legend(names),
      xAxis: Object.assign(measured(spec.axis, 'x', narrow), { name: '', splitNumber: width < 620 ? 3 : 5, splitLine: { show: true, lineStyle: { color: LINE } }, axisLine: { show: false } }),
      yAxis: named(spec.categories.map(say), { inverse: true, axisLabel: { color: INK, fontFamily: FONT, lineHeight: 15, interval: 0, formatter: (name) => wrap(name, labelWidth(width), (height - 80) / spec.categories.length) } }),
      series,
      tooltip: Object.assign(start({}).tooltip, {
        trigger: 'axis', axisPointer: { type: 'shadow', shadowStyle: { color: 'rgba(0,0,0,.03)' } },
        formatter: (items) => block(items[0].name, items.map((item) => [item.seriesName, write(item.value, unit)])),
      }),
    });
  }

  function explain(row, unit) {
    const lines = [[word('estimate'), signed(row.estimate, unit)]];
    if (row.lower !== null) lines.push([word('interval'), `[${write(row.lower, unit)}, ${write(row.upper, unit)}]`]);
    if (row.n !== null) lines.push(['n', group(row.n, 0)]);
    if (row.promised !== null) lines.push([word('promised'), write(row.promised, unit)]);
    if (row.truth !== null) lines.push([word('truth'), write(row.truth, unit)]);
    return block(say(row.name), lines);
  }

  // The interval of a row as a line with caps, across (a forest) or upright (columns).
  function drawWhiskers(rows, upright, colour) {
    return {
      type: 'custom', silent: true, z: 5, clip: false,
      encode: upright ? { x: 0, y: [1, 2] } : { y: 0, x: [1, 2] },
      data: rows.map((row, at) => [at, row.lower ?? row.estimate, row.upper ?? row.estimate]),
      renderItem: (params, api) => {
        const row = rows[params.dataIndex];
        if (row.lower === null || row.upper === null) return null;
        const place = (value) => api.coord(upright ? [params.dataIndex, value] : [value, params.dataIndex]);
        const [a, b] = [place(row.lower), place(row.upper)];
        const cap = (at) => (upright ? { x1: at[0] - 7, y1: at[1], x2: at[0] + 7, y2: at[1] } : { x1: at[0], y1: at[1] - 6, x2: at[0], y2: at[1] + 6 });
        const style = { stroke: colour(row), lineWidth: 2 };
        const line = (shape) => ({ type: 'line', shape, style });
        return { type: 'group', children: [line({ x1: a[0], y1: a[1], x2: b[0], y2: b[1] }), line(cap(a)), line(cap(b))] };
      },
    };
  }

  function drawPoints(rows, name, key, symbol, colour, upright, size, shift) {
    const data = rows.map((row, at) => (row[key] === null ? null : {
      value: upright ? [at, row[key]] : [row[key], at],
      itemStyle: { color: typeof colour === 'function' ? colour(row) : colour, borderColor: '#fff', borderWidth: 1, opacity: 1 },
    })).filter(Boolean);
    return { type: 'scatter', name, symbol, symbolSize: size, symbolOffset: [0, shift || 0], data, z: 7, itemStyle: { color: typeof colour === 'string' ? colour : TONES.quiet } };
  }

  function drawForest(spec, narrow, width, height) {
    return spec.upright ? drawColumns(spec, narrow, width) : drawRows(spec, narrow, width, height);
  }

  function findRow(rows, item, upright) {
    const at = item.componentSubType === 'bar' ? item.dataIndex : item.value[upright ? 0 : 1];
    return rows[at];
  }

  function drawRows(spec, narrow, width, height) {
    const rows = spec.rows, unit = spec.axis.unit, colour = (row) => TONES[row.tone] || TONES.quiet;
    const extra = markExtras(rows, false);
    const scaled = unit === 'ratio' && spec.axis.upper !== null;
    const figure = (row) => (LEVELS.includes(row.tone) ? write : signed)(row.estimate, unit);
    const size = (row) => (row.n === null || narrow ? '' : `{size|  n = ${group(row.n, 0)}}`);
    const right = named(rows.map(figure), {
      inverse: true, position: 'right', axisLine: { show: false },
      axisLabel: { fontFamily: FONT, interval: 0, formatter: (value, at) => `{${rows[at].tone}|${value}}${size(rows[at])}`, rich: richTones() },
    });
    const left = named(rows.map((row) => say(row.name)), {
      inverse: true, axisLine: { show: false },
      axisLabel: { color: INK, fontFamily: FONT, lineHeight: 15, interval: 0, formatter: (name) => wrap(name, labelWidth(width), (height - 80) / rows.length) },
    });
    return start({
      grid: grid({ top: extra.names.length ? under(extra.names, width) + 10 : 8 }), legend: extra.names.length ? shapes(extra.names) : undefined,
      xAxis: Object.assign(measured(spec.axis, 'x', narrow), reach(spec, narrow ? 3 : 5), { splitLine: { show: true, lineStyle: { color: LINE } }, axisLine: { show: false } }),
      yAxis: scaled ? left : [left, right],
      series: [
        drawWhiskers(rows, false, colour),
        Object.assign(drawPoints(rows, word('estimate'), 'estimate', 'rect', colour, false, 11), { markLine: zeroLine('xAxis') }),
        ...extra.series,
      ],
      tooltip: Object.assign(start({}).tooltip, { trigger: 'item', formatter: (item) => explain(findRow(rows, item, false), unit) }),
    });
  }

  // The axis must hold every mark, and zero where effects are read against it; its steps are even.
  function reach(spec, steps) {
    const ends = spec.rows.flatMap((row) => [row.estimate, row.lower, row.upper, row.truth, row.promised]).filter((value) => value !== null);
    const low = Math.min(...ends), high = Math.max(...ends);
    const far = !spec.upright && spec.rows.every((row) => LEVELS.includes(row.tone)) && low > high - low;
    const fixed = [spec.axis.lower, spec.axis.upper].filter((value) => value !== null);
    const all = ends.concat(fixed, far ? [] : [0]);
    const from = Math.min(...all), to = Math.max(...all);
    const step = nice((to - from || Math.abs(to) || 1) / (steps - 0.5));
    const pad = (end) => (end === 0 || fixed.includes(end) ? 0 : step * 0.15);
    return { min: Math.floor((from - pad(from)) / step) * step, max: Math.ceil((to + pad(to)) / step) * step, interval: step };
  }

  function nice(size) {
    const power = 10 ** Math.floor(Math.log10(size)), lead = size / power;
    return [1, 2, 2.5, 5, 10].find((one) => lead <= one + 1e-9) * power;
  }

  function markExtras(rows, upright) {
    const series = [];
    if (rows.some((row) => row.promised !== null)) series.push(drawPoints(rows, word('promised'), 'promised', 'triangle', TONES.amber, upright, 10, upright ? 0 : 10));
    if (rows.some((row) => row.truth !== null)) series.push(drawPoints(rows, word('truth'), 'truth', 'diamond', TONES.truth, upright, 14));
    const names = series.map((one) => ({ name: one.name, icon: one.symbol, itemStyle: { color: one.itemStyle.color } }));
    return { series, names: names.length ? [{ name: word('estimate'), icon: 'rect', itemStyle: { color: TONES.quiet } }, ...names] : [] };
  }

  const zeroLine = (axis) => ({
    silent: true, symbol: 'none', label: { show: false }, lineStyle: { color: '#8c8c8c', type: 'solid', width: 1 }, data: [{ [axis]: 0 }],
  });

  const richTones = () => Object.fromEntries(Object.entries({ gain: '#389e0d', loss: '#cf1322', quiet: '#6b7280', accent: INK, amber: INK })
    .map(([name, color]) => [name, { color, fontFamily: FONT, fontSize: 12, fontWeight: 600 }])
    .concat([['size', { color: SOFT, fontFamily: FONT, fontSize: 11 }]]));

  function drawColumns(spec, narrow, width) {
    const rows = spec.rows, unit = spec.axis.unit, extra = markExtras(rows, true);
    const colour = (row) => TONES[row.tone] || TONES.quiet;
    const bars = {
      type: 'bar', name: word('estimate'), barWidth: narrow ? 40 : 56, z: 3, emphasis: { disabled: true }, markLine: zeroLine('yAxis'),
      data: rows.map((row) => ({ value: row.estimate, itemStyle: { color: colour(row), opacity: 0.55, borderRadius: row.estimate < 0 ? [0, 0, 4, 4] : [4, 4, 0, 0] } })),
    };
    return start({
      grid: grid({ top: extra.names.length ? under(extra.names, width) + 16 : 12 }), legend: extra.names.length ? shapes(extra.names) : undefined,
      xAxis: named(rows.map((row) => `${say(row.name)}\n{${row.tone}|${signed(row.estimate, unit)}}`), {
        axisLabel: { color: INK, fontFamily: FONT, interval: 0, lineHeight: 20, rich: richTones() }, axisLine: { show: false, onZero: false },
      }),
      yAxis: Object.assign(measured(spec.axis, 'y', narrow), reach(spec, 4)),
      series: [bars, drawWhiskers(rows, true, () => '#434343'), ...extra.series],
      tooltip: Object.assign(start({}).tooltip, { trigger: 'item', formatter: (item) => explain(findRow(rows, item, true), unit) }),
    });
  }

  // Its own squares: the library's heat map spreads over three canvases, which no printer puts together.
  function drawSquare(cell, most, api) {
    const [x, y] = api.coord([cell.column, cell.row]), [width, height] = api.size([1, 1]);
    const weight = cell.value / most;
    return {
      type: 'rect',
      shape: { x: x - width / 2 + 1.5, y: y - height / 2 + 1.5, width: width - 3, height: height - 3, r: 6 },
      style: { fill: echarts.color.lerp(weight, ['#f0f7ff', '#91caff', '#1677ff', '#0958d9']) },
      textContent: { style: { text: write(cell.value, 'count'), fill: weight > 0.5 ? '#fff' : INK, fontFamily: FONT, fontSize: 12 } },
      textConfig: { position: 'inside' },
    };
  }

  function drawHeat(spec) {
    const most = Math.max(...spec.cells.map((cell) => cell.value), 1);
    const axis = (names, title, gap) => named(names.map(say), {
      name: title, nameLocation: 'middle', nameGap: gap, nameTextStyle: { color: SOFT, fontFamily: FONT }, axisLine: { show: false }, splitArea: { show: false },
    });
    return start({
      grid: grid({ top: 8 }),
      xAxis: axis(spec.columns, say(spec.x), 28), yAxis: axis(spec.lines, say(spec.y), 24),
      series: [{
        type: 'custom', encode: { x: 0, y: 1 },
        data: spec.cells.map((cell) => [cell.column, cell.row, cell.value, cell.money]),
        renderItem: (params, api) => drawSquare(spec.cells[params.dataIndex], most, api),
      }],
      tooltip: Object.assign(start({}).tooltip, {
        trigger: 'item',
        formatter: (item) => block(`R${item.value[0] + 1} F${item.value[1] + 1}`, [[say(spec.value), write(item.value[2], 'count')], [say(spec.money), write(item.value[3], 'money')]]),
      }),
    });
  }

  // ---- the page --------------------------------------------------------------------------------------
  const KINDS = { curves: drawCurves, bars: drawBars, forest: drawForest, heat: drawHeat };
  const charts = [...document.querySelectorAll('.chart')].map((place) => ({
    place,
    spec: JSON.parse(place.nextElementSibling.textContent),
    view: echarts.init(place, null, { renderer: 'canvas', devicePixelRatio: Math.max(2, window.devicePixelRatio || 1) }),
  }));

  function draw({ place, spec, view }) {
    view.setOption(KINDS[spec.kind](spec, place.clientWidth < 440, place.clientWidth, place.clientHeight), { notMerge: true });
  }

  function choose(wanted, keep) {
    language = wanted;
    document.documentElement.lang = wanted === 'zh' ? 'zh-Hans' : 'en';
    document.title = say(settings.title);
    for (const name of ['title', 'aria-label']) {
      for (const element of document.querySelectorAll(`[data-${wanted}-${name}]`)) {
        element.setAttribute(name, element.getAttribute(`data-${wanted}-${name}`));
      }
    }
    charts.forEach(draw);
    if (keep) remember(wanted);
  }

  // A page opened from a file may have no storage: then the choice lasts as long as the page.
  function remember(wanted) {
    try { localStorage.setItem('aimwell-language', wanted); } catch { /* nothing to do */ }
  }

  function recall() {
    try { return localStorage.getItem('aimwell-language'); } catch { return null; }
  }

  function preferred() {
    const asked = location.hash.slice(1);
    if (asked === 'zh' || asked === 'en') return asked;
    return recall() || (navigator.language.toLowerCase().startsWith('zh') ? 'zh' : 'en');
  }

  function follow() {
    const links = [...document.querySelectorAll('.side ol a')];
    const sections = [...document.querySelectorAll('main > section')];
    const mark = () => {
      const read = sections.filter((one) => one.getBoundingClientRect().top < 160).pop() || sections[0];
      for (const link of links) {
        if (link.getAttribute('href') === `#${read.id}`) link.setAttribute('aria-current', 'true');
        else link.removeAttribute('aria-current');
      }
    };
    addEventListener('scroll', mark, { passive: true });
    mark();
  }

  document.getElementById('language').addEventListener('click', () => choose(language === 'zh' ? 'en' : 'zh', true));
  document.getElementById('print').addEventListener('click', () => print());
  addEventListener('hashchange', () => {
    const asked = location.hash.slice(1);
    if (asked === 'zh' || asked === 'en') choose(asked, true);
  });
  choose(preferred(), false);
  follow();
  const watcher = new ResizeObserver((entries) => {
    for (const entry of entries) {
      const chart = charts.find((one) => one.place === entry.target);
      const { clientWidth, clientHeight } = chart.place;
      if (clientWidth && (clientWidth !== chart.view.getWidth() || clientHeight !== chart.view.getHeight())) { chart.view.resize(); draw(chart); }
    }
  });
  charts.forEach((chart) => watcher.observe(chart.place));
  document.documentElement.dataset.ready = String(charts.length);
}());
