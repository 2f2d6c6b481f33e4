"""Scrolling a list of the page, for benchmarks of lists."""

from __future__ import annotations

VIEWPORTS = ((1280, 800), (390, 844))
# Scrolls an element by steps, one a frame, and returns the milliseconds between frames.
SCROLL = """
  async ([selector, count, step]) => {
    const viewport = document.querySelector(selector), times = [];
    let before = await new Promise(requestAnimationFrame);
    for (let i = 0; i < count; i++) {
      viewport.scrollTop += step;
      const now = await new Promise(requestAnimationFrame);
      times.push(now - before);
      before = now;
    }
    return times;
  }
"""
