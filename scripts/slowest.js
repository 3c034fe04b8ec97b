// A reporter of vitest: the files that took longest and the sum of all, in plain text, so that a slow run tells where time went.

/** @implements {import('vitest/reporters').Reporter} */
export default class Slowest {
  /** @param {readonly import('vitest/node').TestModule[]} modules */
  onTestRunEnd(modules) {
    const timed = modules
      .map((module) => ({
        name: module.relativeModuleId,
        tests: [...module.children.allTests()].length,
        seconds: module.diagnostic().duration / 1000,
      }))
      .toSorted((a, b) => b.seconds - a.seconds);
    const sum = timed.reduce((all, { seconds }) => all + seconds, 0);
    process.stdout.write(`\n${sum.toFixed(0)} s in ${timed.length} test files; the longest:\n`);
    for (const { name, tests, seconds } of timed.slice(0, 25))
      process.stdout.write(`${seconds.toFixed(1).padStart(7)} s  ${name} (${tests})\n`);
  }
}
