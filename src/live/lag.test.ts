import { expect, test } from 'vitest';
import { LagMeter } from './lag.ts';

test('the lag is counted from the newest WAL, and its age from the oldest that is not applied', () => {
  const meter = new LagMeter();
  meter.add({ lsn: 100n, at: 1000 });
  meter.add({ lsn: 200n, at: 2000 });
  meter.add({ lsn: 500n, at: 3000 });
  expect(meter.read(100n, 4000)).toEqual({ bytes: 400, seconds: 2, newest: 500n });
  expect(meter.read(250n, 5000)).toEqual({ bytes: 250, seconds: 2, newest: 500n });
  expect(meter.read(500n, 6000)).toEqual({ bytes: 0, seconds: 0, newest: 500n });
});

test('a source that writes nothing grows no lag', () => {
  const meter = new LagMeter();
  for (let at = 0; at < 10_000; at += 1000) meter.add({ lsn: 70n, at });
  expect(meter.read(70n, 20_000)).toEqual({ bytes: 0, seconds: 0, newest: 70n });
  expect(meter.read(90n, 20_000)).toEqual({ bytes: 0, seconds: 0, newest: 70n });
});

test('without a sample there is no lag to tell', () => {
  expect(new LagMeter().read(5n, 1)).toEqual({ bytes: 0, seconds: 0, newest: 5n });
});
