import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { streamTool, type ToolStream } from './tool-stream.ts';

function shell(script: string, signal = new AbortController().signal): ToolStream {
  return streamTool({ command: '/bin/sh', args: ['-c', script], env: { PATH: process.env['PATH'] ?? '' }, signal });
}

async function all({ output }: ToolStream): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of output) chunks.push(Buffer.from(chunk as Buffer));
  return Buffer.concat(chunks).toString();
}

it('keeps what a program that has ended long ago has printed', async () => {
  const stream = shell('echo one; echo two');
  await stream.ended;
  await sleep(50);
  expect(await all(stream)).toBe('one\ntwo\n');
});

it('waits for whoever reads, and gives out everything', async () => {
  const stream = shell('i=0; while [ $i -lt 40 ]; do printf "%08192d" $i; i=$((i+1)); done');
  await sleep(100);
  expect((await all(stream)).length).toBe(40 * 8192);
  await stream.ended;
});

it('says why a program failed, and ends one that is not needed any more', async () => {
  await expect(shell('echo broken >&2; exit 3').ended).rejects.toThrow(/exit code 3: broken/);
  const endless = shell('while :; do echo more; done');
  await endless.stop();
  const cancelled = new AbortController();
  const stream = shell('exec sleep 60', cancelled.signal);
  cancelled.abort();
  await expect(stream.ended).rejects.toThrow(expect.objectContaining({ code: 'CANCELLED' }));
});

it('ends a program whose output was read in part only, with a reader that waits or one that has left', async () => {
  for (const left of [true, false]) {
    const cancelled = new AbortController();
    const stream = shell('while :; do printf "%08192d" 1; done', cancelled.signal);
    const reader = stream.output[Symbol.asyncIterator]();
    await reader.next();
    // Until the buffers between are full and nothing moves.
    await sleep(200);
    cancelled.abort();
    await stream.stop();
    if (!left) for (let next = await reader.next(); next.done !== true; next = await reader.next());
  }
  const quiet = shell('echo one; exec sleep 60');
  const reader = quiet.output[Symbol.asyncIterator]();
  await reader.next();
  const waiting = reader.next();
  await quiet.stop();
  expect(await waiting).toEqual({ done: true, value: undefined });
});
