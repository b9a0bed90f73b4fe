"""How soon the explorer's picture follows the hand: `python benchmarks/explorer.py RUN`, in Debian's chromium on this machine.

A slider moves a hundred times, each time when the picture of the time before is there. What is timed is from the event of the
input to the end of painting the canvas, which the page itself notes; the browser shows it at its next frame, 16 ms later at most.
"""

import argparse
import shutil
import statistics

from playwright.sync_api import sync_playwright

import amortized as am
from amortized.explore import serving

MOVES = 100

TIMED = """async (moves) => {
  await App.ready;
  const sliders = [...document.querySelectorAll('#sliders input')];
  const found = [];
  for (let move = 0; move < moves; move += 1) {
    while (!Object.values(App.queues).every((queue) => queue.idle)) await new Promise((done) => setTimeout(done, 1));
    const slider = sliders[move % sliders.length];
    slider.value = Number(slider.min) + (Number(slider.max) - Number(slider.min)) * ((move * 0.618) % 1);
    const began = performance.now();
    slider.dispatchEvent(new Event('input', {bubbles: true}));
    while (!App.queues.decoding.idle) await new Promise((done) => setTimeout(done, 0));
    found.push(App.state.painted - began);
  }
  return found;
}"""


def main() -> None:
    parser = argparse.ArgumentParser(description="Time how soon the explorer follows the hand.")
    parser.add_argument("run", nargs="+", help="run folders")
    for folder in parser.parse_args().run:
        with serving(am.load_run(folder)) as address, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            page = browser.new_page()
            page.goto(address)
            found = sorted(page.evaluate(TIMED, MOVES))
            browser.close()
        most = found[int(0.95 * MOVES)]
        print(f"{folder}: median {statistics.median(found):.1f} ms, 95% within {most:.1f} ms, {MOVES} moves")


if __name__ == "__main__":
    main()
